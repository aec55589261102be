// Package chaos proves what is promised about refreshes with real processes, a real Redis and a real PostgreSQL: a storm of
// requests on one expired session costs one call (Storm), and whatever dies, hangs or lies, no session is lost but those that
// the authorization server itself gave up, each accounted for (Run).
//
// The commands below it print the figures:
//
//	go run ./internal/chaos/cmd/storm
//	go run ./internal/chaos/cmd/chaos -duration 10m -placement store -store redis -grace 60s
//
// It kills and stops processes, so it is for Unix.
package chaos
