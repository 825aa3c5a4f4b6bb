"""One independent consumer per stage. A stage knows no broker, no SQL and no other stage."""
