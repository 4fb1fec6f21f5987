//! The circuits before the targets as OpenMetrics text.

use std::fmt;
use std::sync::Arc;

use onex_spi::breaker::{CircuitBreaker, CircuitMetrics, CircuitState};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// All circuits of a breaker, each read in one moment.
#[derive(Debug)]
pub(crate) struct Circuits(Vec<(Arc<str>, CircuitMetrics)>);

impl Circuits {
    pub(crate) fn of(breaker: &dyn CircuitBreaker) -> Self {
        let names = breaker.all_circuit_states().into_keys();
        // One that made room in this moment has nothing to say.
        let read =
            names.filter_map(|name| breaker.circuit_metrics(&name).ok().map(|metrics| (name, metrics)));
        Self(read.collect())
    }

    fn write(
        &self,
        to: &mut DescriptorEncoder<'_>,
        (name, help, kind): (&str, &str, MetricType),
        of: impl Fn(&CircuitMetrics) -> Vec<(Option<(&'static str, &'static str)>, u64)>,
    ) -> Result<(), fmt::Error> {
        let name = format!("onex_circuit_{name}");
        let mut family = to.encode_descriptor(&name, help, None, kind)?;
        for (circuit, metrics) in &self.0 {
            for (label, value) in of(metrics) {
                let mut labels = vec![("circuit", &**circuit)];
                labels.extend(label);
                let sample = family.encode_family(&labels)?;
                match kind {
                    MetricType::Counter => ConstCounter::new(value).encode(sample)?,
                    _ => ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(sample)?,
                }
            }
        }
        Ok(())
    }
}

impl Collector for Circuits {
    fn encode(&self, mut to: DescriptorEncoder) -> Result<(), fmt::Error> {
        let counter = |name, help| (name, help, MetricType::Counter);
        let gauge = |name, help| (name, help, MetricType::Gauge);
        self.write(&mut to, counter("admitted", "Calls that were let through"), |metrics| {
            vec![(None, metrics.admitted_count)]
        })?;
        self.write(&mut to, counter("ended", "What became of them"), |metrics| {
            let ends = [
                ("success", metrics.success_count),
                ("failure", metrics.failure_count),
                ("timeout", metrics.timeout_count),
                ("ignored", metrics.ignored_count),
                ("cancelled", metrics.cancelled_count),
                ("abandoned", metrics.abandoned_count),
            ];
            ends.map(|(end, count)| (Some(("outcome", end)), count)).into()
        })?;
        self.write(&mut to, counter("rejected", "Calls that were turned away"), |metrics| {
            vec![(None, metrics.rejected_count)]
        })?;
        self.write(&mut to, counter("transitions", "Changes of state"), |metrics| {
            vec![(None, metrics.state_transitions)]
        })?;
        self.write(&mut to, gauge("state", "1 at the state that it is in"), |metrics| {
            let states = [
                ("closed", CircuitState::Closed),
                ("open", CircuitState::Open),
                ("half_open", CircuitState::HalfOpen),
            ];
            states
                .map(|(name, state)| (Some(("state", name)), u64::from(metrics.status.state == state)))
                .into()
        })?;
        self.write(&mut to, gauge("forced", "1 while an operator holds it in its state"), |metrics| {
            vec![(None, u64::from(metrics.status.forced))]
        })
    }
}
