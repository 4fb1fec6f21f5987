//! One program on real engines: the file alone says which.

use std::time::Duration;

use onex_environment::Environment;
use onex_spi::Result;
use onex_spi::http::{HttpClientExt, HttpResponse};
use onex_testkit::http::handler;

const FILE: &str = "\
[default]
breaker.engine = 'native'
[default.http]
client.breaker = 'per-host'
client.timeouts.total = '10s'

[development]
http.engine = 'memory'
http_server.engine = 'memory'

[production]
http = { engine = 'hyper', max_connections_per_origin = 2 }
http_server.engine = 'hyper'
";

/// The program: it serves, asks itself, and knows no engine.
async fn program(environment: &Environment) -> Result<Vec<String>> {
    let answers = handler(|request| async move {
        let asked = request.into_parts();
        let said = asked.body.bytes(1 << 10).await?;
        Ok(HttpResponse::new(http::StatusCode::ACCEPTED, format!("{} {}", asked.method, said.len())))
    });
    let serving = environment.http_server()?.serve(([127, 0, 0, 1], 0).into(), answers).await?;
    let client = environment.http_client()?;
    let mut output = Vec::new();
    for order in ["7", "88"] {
        let response =
            client.post(format!("http://{}/orders", serving.local_addr())).body(order).send().await?;
        let status = response.status;
        output.push(format!("{status} {:?}", response.into_body().bytes(1 << 10).await?));
    }
    output.push(format!("{} circuit", environment.circuit_breaker()?.all_circuit_states().len()));
    serving.close(Duration::from_secs(5)).await?;
    Ok(output)
}

#[tokio::test]
async fn card_17_the_same_program_says_the_same_on_every_engine() {
    // CARD-17, ONEX-EX-11.
    for profile in ["development", "production"] {
        let environment = Environment::builder()
            .with(onex_memory::provider())
            .with(onex_breaker_native::provider())
            .with(onex_http_transport_hyper::provider())
            .with(onex_http_server_hyper::provider())
            .with_variables::<String, String>([])
            .parse(FILE, "onex.toml", profile)
            .await
            .expect(profile);
        let output = program(&environment).await.expect(profile);
        assert_eq!(
            output,
            ["202 Accepted b\"POST 1\"", "202 Accepted b\"POST 2\"", "1 circuit"],
            "{profile}"
        );
        environment.close(Duration::from_secs(5)).await.expect(profile);
    }
}
