//! The live feed: realistic ratings and user events, a few per second, with some corrections and a few withdrawals.

use anyhow::{Context, Result};
use rand::RngExt;
use sqlx::{Connection, PgConnection};
use std::time::Duration;

const FIRST_NAMES: &[&str] = &[
    "Amina", "Lukas", "Sofia", "Mateo", "Yuki", "Fatima", "Oliver", "Priya", "Noah", "Chidi", "Elena", "Omar",
    "Ingrid", "Diego", "Mei", "Anna", "Kwame", "Leila", "Pierre", "Hana", "Tom", "Zofia", "Raj", "Carmen",
];
const LAST_NAMES: &[&str] = &[
    "Haddad", "Weber", "Rossi", "García", "Tanaka", "Khan", "Smith", "Patel", "Brown", "Okafor", "Petrova", "Farouk",
    "Larsen", "Silva", "Chen", "Novak", "Mensah", "Hosseini", "Dubois", "Kim", "Murphy", "Kowalska", "Sharma",
    "Torres",
];
const PRODUCTS: &[&str] = &[
    "Espresso Machine",
    "Trail Running Shoes",
    "Wireless Headphones",
    "Camping Tent",
    "Desk Lamp",
    "Mechanical Keyboard",
    "Yoga Mat",
    "Chef's Knife",
    "Electric Kettle",
    "Rain Jacket",
    "Bluetooth Speaker",
    "Office Chair",
    "Cast Iron Pan",
    "Smart Watch",
    "Board Game",
];
const COUNTRIES: &[(&str, &str)] = &[
    ("Germany", "Europe"),
    ("France", "Europe"),
    ("Italy", "Europe"),
    ("Spain", "Europe"),
    ("Poland", "Europe"),
    ("Sweden", "Europe"),
    ("Norway", "Europe"),
    ("Ireland", "Europe"),
    ("Netherlands", "Europe"),
    ("Portugal", "Europe"),
    ("Greece", "Europe"),
    ("United Kingdom", "Europe"),
    ("Egypt", "Africa"),
    ("Nigeria", "Africa"),
    ("Kenya", "Africa"),
    ("Ghana", "Africa"),
    ("Morocco", "Africa"),
    ("South Africa", "Africa"),
    ("Japan", "Asia"),
    ("India", "Asia"),
    ("China", "Asia"),
    ("South Korea", "Asia"),
    ("Vietnam", "Asia"),
    ("Saudi Arabia", "Asia"),
    ("United States", "North America"),
    ("Canada", "North America"),
    ("Mexico", "North America"),
    ("Brazil", "South America"),
    ("Argentina", "South America"),
    ("Chile", "South America"),
    ("Australia", "Oceania"),
    ("New Zealand", "Oceania"),
];
const COMMENTS: [&[&str]; 5] = [
    &["Broke on the second day.", "Never arrived complete.", "I want my money back.", "Not what the picture shows."],
    &["Disappointing for the price.", "Works, but badly made.", "Support did not answer.", "Too loud and too slow."],
    &["It is all right.", "Fine for the price.", "Does its job, no more.", "Expected a little better."],
    &["Good, I would buy it again.", "Very solid.", "Happy with it, small scratches.", "Quick delivery, good quality."],
    &["Excellent!", "The best one I have had.", "My whole family loves it.", "Perfect from the first day."],
];
/// Most ratings are good; about one in six is below 3.
const RATE_WEIGHTS: [(i32, u32); 5] = [(1, 7), (2, 10), (3, 18), (4, 33), (5, 32)];
const EVENTS: &[&str] = &["login", "product_view", "search", "add_to_cart", "checkout", "wishlist", "logout"];

fn pick<T: Copy>(from: &[T]) -> T {
    from[rand::rng().random_range(0..from.len())]
}

fn rate() -> i32 {
    let mut ticket = rand::rng().random_range(0..RATE_WEIGHTS.iter().map(|(_, weight)| weight).sum::<u32>());
    for (rate, weight) in RATE_WEIGHTS {
        if ticket < weight {
            return rate;
        }
        ticket -= weight;
    }
    5
}

fn comment(rate: i32) -> &'static str {
    let index = usize::try_from(rate - 1).unwrap_or(0);
    pick(COMMENTS.get(index).copied().unwrap_or(COMMENTS[4]))
}

/// Feeds `rate` ratings a second until it is stopped; a lost database connection is made anew.
pub(crate) async fn run(ratings: &str, customers: &str, rate: f64) -> Result<()> {
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate.clamp(0.01, 10_000.0)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut connections = None;
    loop {
        ticks.tick().await;
        let outcome = match connections.take() {
            Some(pair) => turn(pair).await,
            None => connect(ratings, customers).await,
        };
        match outcome {
            Ok(pair) => connections = Some(pair),
            Err(error) => {
                eprintln!("the feed lost its database and connects again: {}", crate::progress::sentence(&error));
                tokio::time::sleep(Duration::from_secs(1)).await; // the back-off
            }
        }
    }
}

type Pair = (PgConnection, PgConnection);

async fn connect(ratings: &str, customers: &str) -> Result<Pair> {
    let context = "cannot connect to PostgreSQL";
    Ok((
        PgConnection::connect(ratings).await.context(context)?,
        PgConnection::connect(customers).await.context(context)?,
    ))
}

async fn turn((mut ratings, mut customers): Pair) -> Result<Pair> {
    let rate = rate();
    match rand::rng().random_range(0..100) {
        0..90 => insert(&mut ratings, rate).await?,
        90..98 => {
            let sql = "UPDATE rating.rates SET rate = $1, comment = $2 WHERE id = (SELECT id FROM rating.rates ORDER BY id DESC OFFSET $3 LIMIT 1)";
            let back = rand::rng().random_range(0_i64..50);
            sqlx::query(sql).bind(rate).bind(comment(rate)).bind(back).execute(&mut ratings).await?;
        }
        _ => {
            let sql =
                "DELETE FROM rating.rates WHERE id = (SELECT id FROM rating.rates ORDER BY id DESC OFFSET $1 LIMIT 1)";
            sqlx::query(sql).bind(rand::rng().random_range(0_i64..50)).execute(&mut ratings).await?;
        }
    }
    if rand::rng().random_range(0..2) == 0 {
        event(&mut customers).await?;
    }
    Ok((ratings, customers))
}

async fn insert(connection: &mut PgConnection, rate: i32) -> Result<()> {
    let (first, last, (country, region)) = (pick(FIRST_NAMES), pick(LAST_NAMES), pick(COUNTRIES));
    let email = format!("{}.{}@example.com", first.to_lowercase(), last.to_lowercase().replace('í', "i"));
    let sql = "INSERT INTO rating.rates (customer_name, customer_email, product, country_name, region, rate, comment) VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let query =
        sqlx::query(sql).bind(format!("{first} {last}")).bind(email).bind(pick(PRODUCTS)).bind(country).bind(region);
    query.bind(rate).bind(comment(rate)).execute(connection).await?;
    Ok(())
}

async fn event(connection: &mut PgConnection) -> Result<()> {
    let number = rand::rng().random_range(0..FIRST_NAMES.len());
    let name = format!("{} {}", FIRST_NAMES[number], LAST_NAMES[number]);
    let kind = pick(EVENTS);
    let product = (!matches!(kind, "login" | "logout")).then(|| pick(PRODUCTS));
    // The article's bulk connector sends the whole table at every poll: the demo's table stays small.
    let sql = "INSERT INTO customer_events (customer_id, customer_name, event_type, product, details) \
               SELECT $1, $2, $3, $4, $5 WHERE (SELECT count(*) FROM customer_events) < 5000";
    let details = pick(&["from a phone", "from a laptop", "came from search", "came from a newsletter"]);
    let query = sqlx::query(sql).bind(i64::try_from(number + 1)?).bind(name).bind(kind).bind(product).bind(details);
    query.execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_valid_and_comments_fit() {
        for _ in 0..1_000 {
            let rate = rate();
            assert!((1..=5).contains(&rate));
            assert!(COMMENTS[usize::try_from(rate).unwrap() - 1].contains(&comment(rate)));
        }
    }
}
