//! Stores of statements. Every test of `import`, `queries` and `forged` runs against the store in memory, SQLite and, when
//! `COUNTERMARK_POSTGRES` is set (fixtures/services/postgres.sh), PostgreSQL.

mod faults;
mod forged;
mod import;
mod lab;
mod queries;
mod random;
