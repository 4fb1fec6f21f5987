//! The counters of the bridges, and of the circuits before their targets, as OpenMetrics text.

use std::fmt;
use std::sync::Arc;

use onex_spi::breaker::CircuitBreaker;
use onex_spi::bridge::{BridgeInfo, BridgeMetrics, BridgeState, CommunicationBridge};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::circuits::Circuits;

/// The type of what [`text`] writes.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes the counters of all bridges, those of one bridge read in one moment, and of the circuits, if there are any.
pub(crate) fn text(
    bridge: &Arc<dyn CommunicationBridge>,
    breaker: Option<&dyn CircuitBreaker>,
) -> Result<String, fmt::Error> {
    let bridges = bridge.all_bridges().into_iter();
    let read = bridges.filter_map(|info| bridge.bridge_metrics(info.id).ok().map(|metrics| (info, metrics)));
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot(read.collect())));
    if let Some(breaker) = breaker {
        registry.register_collector(Box::new(Circuits::of(breaker)));
    }
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Snapshot(Vec<(BridgeInfo, BridgeMetrics)>);

impl Collector for Snapshot {
    fn encode(&self, mut to: DescriptorEncoder) -> Result<(), fmt::Error> {
        let none = || Vec::<(&'static str, String)>::new();
        self.counters(&mut to, "received", "Messages taken from a source or a caller", |metrics| {
            vec![(none(), metrics.ledger.received)]
        })?;
        self.counters(&mut to, "settled", "What became of the messages", |metrics| {
            let ledger = &metrics.ledger;
            let ends = [
                ("delivered", ledger.delivered),
                ("dead_lettered", ledger.dead_lettered),
                ("failed", ledger.failed),
                ("filtered", ledger.filtered),
            ];
            ends.into_iter().map(|(end, count)| (vec![("end", end.to_owned())], count)).collect()
        })?;
        self.counters(&mut to, "delivered", "Messages that a target accepted, by route", |metrics| {
            let routes = metrics.routes.iter();
            routes.map(|(route, count)| (vec![("route", route.to_string())], *count)).collect()
        })?;
        self.counters(&mut to, "dead_letters", "Dead letters, by reason", |metrics| {
            let reasons = metrics.dead_reasons.iter();
            reasons.map(|(reason, count)| (vec![("reason", (*reason).to_owned())], *count)).collect()
        })?;
        self.counters(&mut to, "retries", "Attempts beyond the first", |metrics| {
            vec![(none(), metrics.retries)]
        })?;
        self.counters(&mut to, "rule_errors", "Messages for which a rule failed", |metrics| {
            vec![(none(), metrics.rule_errors)]
        })?;
        self.counters(&mut to, "payload_bytes", "Bytes of the payloads received", |metrics| {
            vec![(none(), metrics.bytes)]
        })?;
        self.busy(&mut to)?;
        self.gauges(&mut to, "in_flight", "Messages taken and not settled yet", |_, metrics| {
            i64::try_from(metrics.ledger.in_flight).unwrap_or(i64::MAX)
        })?;
        self.gauges(&mut to, "up", "1 while the source can bring messages", |info, _| {
            i64::from(matches!(info.state, BridgeState::Running | BridgeState::Degraded))
        })
    }
}

/// The labels of a sample, beside the bridge, and its value.
type Samples = Vec<(Vec<(&'static str, String)>, u64)>;

impl Snapshot {
    fn counters(
        &self,
        to: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        of: impl Fn(&BridgeMetrics) -> Samples,
    ) -> Result<(), fmt::Error> {
        let name = format!("onex_bridge_{name}");
        let mut family = to.encode_descriptor(&name, help, None, MetricType::Counter)?;
        for (info, metrics) in &self.0 {
            for (more, value) in of(metrics) {
                let mut labels = vec![("bridge", info.name.to_string())];
                labels.extend(more);
                ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn busy(&self, to: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "The time from taking to settling, summed";
        let unit = Unit::Seconds;
        let mut family = to.encode_descriptor("onex_bridge_busy", help, Some(&unit), MetricType::Counter)?;
        for (info, metrics) in &self.0 {
            let labels = [("bridge", info.name.to_string())];
            ConstCounter::new(metrics.busy.as_secs_f64()).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauges(
        &self,
        to: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        of: impl Fn(&BridgeInfo, &BridgeMetrics) -> i64,
    ) -> Result<(), fmt::Error> {
        let name = format!("onex_bridge_{name}");
        let mut family = to.encode_descriptor(&name, help, None, MetricType::Gauge)?;
        for (info, metrics) in &self.0 {
            let labels = [("bridge", info.name.to_string())];
            ConstGauge::new(of(info, metrics)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
