package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/sallyport/sallyport/session"
	"github.com/sallyport/sallyport/session/pgstore"
	"github.com/sallyport/sallyport/session/redisstore"
)

// readStore reads where sessions live and what replicas share. It opens stores, and contacts none: one that is away must not
// keep the application from starting.
func (env *environment) readStore(getenv func(string) string, log *slog.Logger) (err error) {
	place, coordination := getenv("SESSION_STORE"), getenv("SESSION_COORDINATION")
	switch {
	case place == "" || place == "cookie":
		if coordination == "" {
			return nil
		}
		env.session.Coordination, err = env.openStore("SESSION_COORDINATION", coordination, log)
	case coordination != "":
		return errors.New("SESSION_COORDINATION is for SESSION_STORE=cookie: with sessions in a store, that store is what replicas share; unset one of the two")
	case place == "memory":
		env.session.Store = session.NewMemory(session.MemoryOptions{})
		return nil
	default:
		env.session.Store, err = env.openStore("SESSION_STORE", place, log)
	}
	if err == nil && getenv("SESSION_KEYS") == "" {
		return errors.New("SESSION_KEYS is needed with a store that replicas share: without the same keys they cannot read each other's sessions, nor this one its own after a restart. Make one with: openssl rand -base64 32 | tr '+/' '-_' | tr -d '='")
	}
	return err
}

// openStore opens the store that a URL names. The error repeats nothing of it: it may have a password.
func (env *environment) openStore(variable, raw string, log *slog.Logger) (session.Store, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New(variable + ": not a URL")
	}
	switch u.Scheme {
	case "redis", "rediss", "redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel", "unix":
		s, err := redisstore.Open(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", variable, err)
		}
		env.closers = append(env.closers, func() { _ = s.Close() })
		return s, nil
	case "postgres", "postgresql":
		ctx, cancel := context.WithCancel(context.Background())
		s, err := pgstore.Open(ctx, raw)
		if err != nil {
			cancel()
			return nil, fmt.Errorf("%s: %w", variable, err)
		}
		migrated := make(chan struct{})
		go func() {
			defer close(migrated)
			migrate(ctx, s, log)
		}()
		select { // the first request should find the table, if the database is there
		case <-migrated:
		case <-time.After(3 * time.Second):
		}
		env.closers = append(env.closers, func() { cancel(); <-migrated; s.Close() })
		return s, nil
	}
	if variable == "SESSION_COORDINATION" {
		return nil, errors.New(variable + ": use redis://…, rediss://… or postgres://…")
	}
	return nil, errors.New(variable + ": use cookie, memory, redis://…, rediss://… or postgres://…")
}

// migrate makes the table, as soon as there is a database to make it in.
func migrate(ctx context.Context, s *pgstore.Store, log *slog.Logger) {
	for wait := 200 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		attempt, cancel := context.WithTimeout(ctx, 30*time.Second)
		err := s.Migrate(attempt)
		cancel()
		if err == nil || ctx.Err() != nil {
			return
		}
		log.Warn("the session store cannot be prepared yet", "error", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}
