//! Ratings and user events written as an application would, with corrections and withdrawals.

use anyhow::Result;
use ratestream_testkit::Postgres;
use sqlx::{Connection, PgConnection};
use std::time::{Duration, Instant};

const RATINGS: i64 = 2000;
/// Every so many-th rating is low: 300 of 2,000, and twenty more become low by a correction.
const LOW: [i64; 3] = [0, 7, 13];
const EVENTS: i64 = 500;
const COUNTRIES: [&str; 12] = [
    "Germany",
    "France",
    "Egypt",
    "Japan",
    "Brazil",
    "Canada",
    "India",
    "Kenya",
    "Côte d'Ivoire",
    "South Korea",
    "Bosnia and Herzegovina",
    "Åland",
];

/// Writer of one test; each run adds to what is there.
pub(crate) struct Workload {
    ratings: PgConnection,
    customers: PgConnection,
    low: usize,
    runs: i64,
}

impl Workload {
    pub(crate) async fn connect(postgres: &Postgres) -> Result<Workload> {
        Ok(Workload {
            ratings: PgConnection::connect(&postgres.url("rating_system_demo")).await?,
            customers: PgConnection::connect(&postgres.url("customers")).await?,
            low: 0,
            runs: 0,
        })
    }

    /// How many times a rating fell below 3 since the beginning: so many mails must come.
    pub(crate) fn low(&self) -> usize {
        self.low
    }

    /// Writes 2,000 ratings and 500 events, spread over `duration`.
    pub(crate) async fn run(&mut self, duration: Duration) -> Result<()> {
        let start = Instant::now();
        self.runs += 1;
        for number in 0..RATINGS {
            let id = self.rate(number).await?;
            self.correct(number, id).await?;
            if number % (RATINGS / EVENTS) == 0 {
                self.event(number).await?;
            }
            let due = duration.mul_f64(number as f64 / RATINGS as f64);
            tokio::time::sleep(due.saturating_sub(start.elapsed())).await;
        }
        Ok(())
    }

    async fn rate(&mut self, number: i64) -> Result<i64> {
        let low = LOW.contains(&(number % 20));
        self.low += usize::from(low);
        let rate = if low { 1 + number % 2 } else { 3 + number % 3 };
        let country = COUNTRIES[(number * 7 % COUNTRIES.len() as i64) as usize];
        let sql = "INSERT INTO rating.rates (customer_name, customer_email, product, country_name, region, rate, comment) \
                   VALUES ($1, $2, $3, $4, 'somewhere', $5, $6) RETURNING id";
        let comment = (number % 5 != 4).then(|| format!("run {} number {number} — „quoted“, <b>bold</b>", self.runs));
        let (id,): (i64,) = sqlx::query_as(sql)
            .bind(format!("Customer {number}"))
            .bind(format!("customer{number}@example.com"))
            .bind(format!("Product {}", number % 17))
            .bind(country)
            .bind(rate as i32)
            .bind(comment)
            .fetch_one(&mut self.ratings)
            .await?;
        Ok(id)
    }

    /// Some ratings change: of text, of country, to low; some are withdrawn.
    async fn correct(&mut self, number: i64, id: i64) -> Result<()> {
        let sql = match number % 100 {
            10 => "UPDATE rating.rates SET comment = 'corrected' WHERE id = $1",
            20 => "UPDATE rating.rates SET rate = 1, comment = 'still low' WHERE id = $1",
            30 => "UPDATE rating.rates SET country_name = 'Iceland' WHERE id = $1",
            41 => {
                self.low += 1;
                "UPDATE rating.rates SET rate = 2 WHERE id = $1"
            }
            52 | 60 => "DELETE FROM rating.rates WHERE id = $1",
            _ => return Ok(()),
        };
        sqlx::query(sql).bind(id).execute(&mut self.ratings).await?;
        Ok(())
    }

    async fn event(&mut self, number: i64) -> Result<()> {
        let sql = "INSERT INTO customer_events (customer_id, customer_name, event_type, product, details) VALUES ($1, $2, $3, $4, $5)";
        let kind = ["login", "product_view", "checkout"][(number % 3) as usize];
        sqlx::query(sql)
            .bind(number % 40)
            .bind(format!("Customer {}", number % 40))
            .bind(kind)
            .bind((number % 2 == 0).then_some("Desk Lamp"))
            .bind(format!("number {number}"))
            .execute(&mut self.customers)
            .await?;
        Ok(())
    }
}
