//! `POST /query`, `/query-stream`, `/close-query`: rows now (pull) and rows as they come (push).

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::Value as Json;
use tokio::sync::{broadcast, mpsc};

use super::error::ApiError;
use super::stream::{Format, Frame, Header, body};
use super::{Api, Request, entities};
use crate::catalog::{Source, type_of};
use crate::engine::evaluate::{evaluate, holds};
use crate::engine::plan::{OutputColumn, Plan, plan};
use crate::sql::ast::{Expr, Kind, Name, Select, Statement};
use crate::sql::parse;
use crate::state::State;
use crate::view::{View, ViewRow};

/// Rows that wait for a slow client; then its query waits.
const ROWS_WAITING_MAX: usize = 256;

/// `/query`: the older form.
pub async fn old(request: HttpRequest, api: web::Data<Api>, bytes: web::Bytes) -> Result<HttpResponse, ApiError> {
    answer(&api, &bytes, Format::of_old(&request)).await
}

/// `/query-stream`: the newer form.
pub async fn new(request: HttpRequest, api: web::Data<Api>, bytes: web::Bytes) -> Result<HttpResponse, ApiError> {
    answer(&api, &bytes, Format::of_new(&request)).await
}

#[derive(Deserialize)]
struct Close {
    #[serde(rename = "queryId")]
    query_id: String,
}

/// Ends a push query.
pub async fn close(api: web::Data<Api>, bytes: web::Bytes) -> Result<HttpResponse, ApiError> {
    let close: Close = serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::bad_request(format!("the body cannot be read: {error}")))?;
    if api.state.close_push(&close.query_id) {
        Ok(HttpResponse::Ok().finish())
    } else {
        Err(ApiError::bad_request(format!("No query with id {}", close.query_id)))
    }
}

/// What a SELECT shows of each row.
#[derive(Clone)]
pub struct Shown {
    filter: Option<Expr>,
    columns: Vec<OutputColumn>,
}

impl Shown {
    /// The row's values; none when WHERE leaves it out.
    pub fn row<R: crate::engine::evaluate::Row + ?Sized>(&self, row: &R) -> Option<Vec<Json>> {
        if self.filter.as_ref().is_some_and(|filter| !holds(filter, row)) {
            return None;
        }
        Some(self.columns.iter().map(|column| evaluate(&column.expr, row).to_json()).collect())
    }
}

async fn answer(api: &Api, bytes: &[u8], format: Format) -> Result<HttpResponse, ApiError> {
    let request = Request::read(bytes)?;
    let text = request.text()?;
    if !api.state.is_ready() {
        return Err(ApiError::not_ready());
    }
    let refuse = |message: String| ApiError::statement(message, text.trim());
    let mut statements = parse(text, false).map_err(|error| refuse(error.to_string()))?;
    let (Some(parsed), true) = (statements.pop(), statements.is_empty()) else {
        return Err(ApiError::bad_request("send one SELECT at a time"));
    };
    let Statement::Select(select) = parsed.statement else {
        return Err(ApiError::endpoint("only SELECT is answered here: send this statement to /ksql", text.trim()));
    };
    let source = api.state.catalog().readable(&select.from).map_err(refuse)?;
    let shown = shown(&select, &source).map_err(refuse)?;
    let key = |column: &OutputColumn| source.columns.iter().any(|known| known.key && known.name == column.name);
    let id =
        if select.emit_changes { format!("transient_{}_{}", source.name, uuid::Uuid::new_v4()) } else { String::new() };
    let header = Header {
        query_id: id.clone(),
        columns: shown
            .columns
            .iter()
            .map(|column| (column.name.clone(), entities::base_type(&column.ty), key(column)))
            .collect(),
    };
    let view = api.state.watched().get(&source.name).map(|watched| watched.view.clone());
    if !select.emit_changes {
        return pull(&select, &source, &shown, view, header, format).map_err(|error| match error {
            Refusal::Statement(message) => ApiError::statement(message, text.trim()),
            Refusal::NotReady(message) => ApiError::new(50302, message),
        });
    }
    let Some(stop) = api.state.open_push(&id) else {
        let most = api.state.config.push_queries_max;
        return Err(ApiError::new(
            40003,
            format!("{most} push queries run already; end one, or raise aggregator.push_queries_max"),
        ));
    };
    let (rows, receiver) = mpsc::channel(ROWS_WAITING_MAX);
    match view {
        Some(view) => {
            actix_web::rt::spawn(push_table(view, shown, rows, stop, select.limit));
        }
        None => {
            let beginning =
                request.property("auto.offset.reset").is_some_and(|reset| reset.eq_ignore_ascii_case("earliest"));
            let (state, topic) = (api.state.clone(), source.topic.clone());
            let follow = super::stream::Follow { topic, shown, beginning, limit: select.limit };
            drop(tokio::task::spawn_blocking(move || follow.run(&state, &rows, &stop)));
        }
    }
    let state: Arc<State> = api.state.clone();
    Ok(body(format, &header, receiver, Some((state, id))))
}

fn shown(select: &Select, source: &Source) -> Result<Shown, String> {
    let Plan::Project(plan) = plan(select, &|name| type_of(source, name))? else {
        return Err("GROUP BY in a query for a client is not there yet: make a table with CREATE TABLE … AS SELECT, and query that".to_owned());
    };
    let columns = match plan.columns {
        Some(columns) => columns,
        None if source.columns.is_empty() => {
            return Err(format!(
                "the columns of {} are not declared; name the ones you want instead of *",
                source.name
            ));
        }
        None => source
            .columns
            .iter()
            .map(|column| {
                let expr = Expr::Column(Name { text: column.name.clone(), quoted: false });
                OutputColumn { name: column.name.clone(), expr, ty: column.ty.clone() }
            })
            .collect(),
    };
    if let Some(filter) = &plan.filter
        && !source.columns.is_empty()
    {
        let mut unknown = None;
        filter.visit(&mut |expr| {
            if let Expr::Column(name) = expr
                && type_of(source, name).is_none()
            {
                unknown = Some(name.to_string());
            }
        });
        if let Some(name) = unknown {
            let known: Vec<&str> = source.columns.iter().map(|column| column.name.as_str()).collect();
            return Err(format!("WHERE column {name} is not known; {} has {}", source.name, known.join(", ")));
        }
    }
    Ok(Shown { filter: plan.filter, columns })
}

enum Refusal {
    Statement(String),
    NotReady(String),
}

fn pull(
    select: &Select,
    source: &Source,
    shown: &Shown,
    view: Option<Arc<View>>,
    header: Header,
    format: Format,
) -> Result<HttpResponse, Refusal> {
    let Some(view) = view.filter(|_| source.kind == Kind::Table) else {
        let text = format!("{} is a stream: add EMIT CHANGES to see its rows as they come", source.name);
        return Err(Refusal::Statement(text));
    };
    if !view.is_ready() {
        return Err(Refusal::NotReady(format!("table {} has not been read to its end yet", source.name)));
    }
    let limit = usize::try_from(select.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let frames: Vec<Frame> = view
        .rows()
        .iter()
        .filter_map(|row| shown.row(row.as_slice()))
        .take(limit)
        .map(|columns| Frame::Row { columns, gone: false })
        .collect();
    let (sender, receiver) = mpsc::channel(frames.len().max(1));
    for frame in frames {
        // The channel has room for all of them.
        let _sent = sender.try_send(frame);
    }
    drop(sender);
    Ok(body(format, &header, receiver, None))
}

/// First the present rows, then every change, until the client leaves, the limit is reached or somebody closes the query.
async fn push_table(
    view: Arc<View>,
    shown: Shown,
    rows: mpsc::Sender<Frame>,
    stop: ratestream_runtime::Shutdown,
    limit: Option<u64>,
) {
    let mut left = limit.unwrap_or(u64::MAX);
    let mut send = async |row: &ViewRow, gone: bool| -> bool {
        let Some(columns) = shown.row(row.as_slice()) else { return true };
        if rows.send(Frame::Row { columns, gone }).await.is_err() {
            return false;
        }
        left = left.saturating_sub(1);
        if left == 0 {
            let _gone = rows.send(Frame::Limit).await;
        }
        left > 0
    };
    loop {
        let (present, mut changes) = view.subscribe();
        for row in &present {
            if !send(row, false).await {
                return;
            }
        }
        loop {
            let change = tokio::select! {
                change = changes.recv() => change,
                () = rows.closed() => return,
                () = stop.triggered() => return,
            };
            match change {
                Ok(change) => {
                    if !send(&change.row, change.gone).await {
                        return;
                    }
                }
                // Too slow: what was missed is made good by the present rows.
                Err(broadcast::error::RecvError::Lagged(_)) => break,
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }
}
