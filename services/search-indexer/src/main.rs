//! Elasticsearch sink connectors of the ratestream suite.

fn main() -> std::process::ExitCode {
    ratestream_runtime::run::<search_indexer::SearchIndexer>()
}
