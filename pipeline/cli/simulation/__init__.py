"""The whole product on one thread in virtual time, for `daifu simulate` and the tests: no socket, no real clock, the same seed the same run."""
