//! The bridge between ends of each kind that it has a protocol for.

use std::sync::Arc;

use onex_bridge::http::HttpProtocol;
use onex_bridge::kafka::KafkaProtocol;
use onex_http_client::HttpClientBuilder;
use onex_spi::bridge::CommunicationBridge;
use onex_spi::kafka::KafkaDriver;
use onex_spi::provider::OpenContext;
use onex_spi::{Clock, Result, TokioClock};
use onex_testkit::bridge::{self, BridgeSetup, Ends, EndsSetup, HttpEnds, KafkaEnds, PairedEnds};
use onex_testkit::suite::Trial;

/// Between the testkit's queues.
pub(crate) fn over_memory() -> Vec<Trial> {
    bridge::trials(open)
}

/// Between servers and clients on the wire.
pub(crate) fn over_http() -> Vec<Trial> {
    bridge::trials_over(open, |setup| async move { Ok(Arc::new(http(setup).await?) as Arc<dyn Ends>) })
}

/// Between topics of the cluster of `driver`, which is opened anew for each case.
pub(crate) fn over_kafka<F, Fut>(driver: F) -> Vec<Trial>
where
    F: Fn() -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Arc<dyn KafkaDriver>>> + Send + 'static,
{
    bridge::trials_over(open, move |setup| {
        let driver = driver();
        async move { Ok(Arc::new(kafka(setup, driver.await?).await?) as Arc<dyn Ends>) }
    })
}

/// From callers on the wire to topics of the cluster of `driver`.
pub(crate) fn http_to_kafka<F, Fut>(driver: F) -> Vec<Trial>
where
    F: Fn() -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Arc<dyn KafkaDriver>>> + Send + 'static,
{
    bridge::trials_over(open, move |setup: EndsSetup| {
        let driver = driver();
        async move {
            let callers = Arc::new(http(setup.clone()).await?);
            let topics = Arc::new(kafka(setup, driver.await?).await?);
            Ok(Arc::new(PairedEnds::new(callers, topics)) as Arc<dyn Ends>)
        }
    })
}

async fn open(setup: BridgeSetup) -> Result<Arc<dyn CommunicationBridge>> {
    onex_bridge::open(setup.protocols, setup.clock, setup.seed)
}

async fn http(setup: EndsSetup) -> Result<HttpEnds> {
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::new());
    let context = OpenContext::new(Arc::clone(&clock), setup.seed);
    let server = onex_http_server_hyper::open(onex_http_server_hyper::Config::default(), &context).await?;
    let transport = onex_http_transport_hyper::Config::default();
    let transport = onex_http_transport_hyper::open(transport, &context).await?;
    let client = HttpClientBuilder::new(transport, clock).seed(setup.seed).build()?;
    let protocol = HttpProtocol::new().with_server(Arc::clone(&server)).with_client(Arc::clone(&client));
    HttpEnds::open(Arc::new(protocol), server, client).await
}

async fn kafka(setup: EndsSetup, driver: Arc<dyn KafkaDriver>) -> Result<KafkaEnds> {
    let protocol = Arc::new(KafkaProtocol::new(Arc::clone(&driver)));
    KafkaEnds::open(setup, protocol, driver).await
}

#[cfg(test)]
mod tests {
    use onex_testkit::bridge::broken::check_broken;
    use onex_testkit::broken::Reach;

    use super::*;

    #[test]
    fn each_broken_bridge_is_caught_by_its_cases_over_the_engine() {
        let report = check_broken(open, Reach::Named);
        assert!(report.wrong.is_empty() && report.ignored.is_empty(), "{report}");
    }
}
