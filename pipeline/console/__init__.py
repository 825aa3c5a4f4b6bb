"""The web pages and their JSON API: reads the store through its queries, acts through `pipeline.operations…` as the CLI does."""
