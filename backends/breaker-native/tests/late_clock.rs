//! The breaker suite on a clock whose cheap reading is as late as it may be: no law bends.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use onex_breaker_native::{Config, NativeBreaker};
use onex_spi::{BoxFuture, Clock, Timer};

const BEHIND: Duration = Duration::from_millis(4);

#[derive(Debug)]
struct Late(Arc<dyn Clock>);

impl Clock for Late {
    fn now(&self) -> Instant {
        self.0.now()
    }

    fn recent(&self) -> Instant {
        self.0.now() - BEHIND
    }

    fn wall(&self) -> SystemTime {
        self.0.wall()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        self.0.sleep_until(deadline)
    }

    fn timer(&self) -> Box<dyn Timer> {
        self.0.timer()
    }

    fn grain(&self) -> Duration {
        self.0.grain() + BEHIND
    }
}

fn main() -> ExitCode {
    onex_testkit::breaker::conformance(|setup| async move {
        let config = Config::new()
            .with_max_circuits(setup.max_circuits)
            .with_defaults(setup.defaults)
            .with_templates(setup.templates);
        Ok(Arc::new(NativeBreaker::with_seed(config, Arc::new(Late(setup.clock)), setup.seed)?) as Arc<_>)
    })
}
