package main

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/sallyport/sallyport/internal/backing"
	"github.com/sallyport/sallyport/internal/benchmarks/measure"
	"github.com/sallyport/sallyport/internal/benchmarks/stores"
)

// swap is a record of 2 kB, written if nobody else has, beside the least that does that with the same client.
func swap(o options) ([]measure.Target, error) {
	redis, err := redisSwap(o)
	if err != nil {
		return nil, err
	}
	postgres, err := postgresSwap(o)
	return append(redis, postgres...), err
}

func redisSwap(o options) ([]measure.Target, error) {
	targets := []measure.Target{
		{What: "swap in Redis, by the clock, over a bare compare-and-set", Bound: 1.2, Unit: "×"},
		{What: "the same, processor time of client and Redis", Bound: 1.2, Unit: "×"},
		{What: "commands a swap in Redis", Bound: 1},
	}
	server, err := stores.StartRedis()
	if errors.Is(err, backing.ErrMissing) {
		return missing(targets, "redis-server is not installed"), nil
	}
	if err != nil {
		return nil, err
	}
	defer server.Stop()
	cases, err := stores.RedisSwaps(server)
	if err != nil {
		return nil, err
	}
	all, err := oneProcessor(cases, o)
	if err != nil {
		return nil, err
	}
	fmt.Printf("\n## A swap in Redis\n\n%s", measure.Table(all, stores.BareScript, "Redis CPU µs", serverTime(all)))
	ours, bare := measure.Find(all, stores.RedisSwap), measure.Find(all, stores.BareScript)
	targets[0] = over(targets[0], *ours, *bare, measure.Wall)
	targets[1] = over(targets[1], *ours, *bare, measure.Both)
	before, err := server.Commands()
	if err != nil {
		return nil, err
	}
	const swaps = 1000
	if err := cases[2].Run(swaps); err != nil {
		return nil, err
	}
	after, err := server.Commands()
	targets[2].Got = float64(after.Since(before).Trips()) / swaps
	return targets, err
}

func postgresSwap(o options) ([]measure.Target, error) {
	targets := []measure.Target{
		{What: "swap in PostgreSQL, by the clock, over a bare UPDATE", Bound: 1.2, Unit: "×"},
		{What: "the same, processor time of client and PostgreSQL", Bound: 1.2, Unit: "×"},
		{What: "statements a swap in PostgreSQL", Bound: 1},
	}
	server, err := stores.StartPostgres(stores.Workers)
	if errors.Is(err, backing.ErrMissing) {
		return missing(targets, "PostgreSQL is not installed"), nil
	}
	if err != nil {
		return nil, err
	}
	defer server.Stop()
	cases, err := stores.PostgresSwaps(server)
	if err != nil {
		return nil, err
	}
	all, err := oneProcessor(cases, o)
	if err != nil {
		return nil, err
	}
	fmt.Printf("\n## A swap in PostgreSQL\n\n%s", measure.Table(all, stores.BareUpdate, "PostgreSQL CPU µs", serverTime(all)))
	ours, bare := measure.Find(all, stores.PgSwap), measure.Find(all, stores.BareUpdate)
	targets[0] = over(targets[0], *ours, *bare, measure.Wall)
	targets[1] = over(targets[1], *ours, *bare, measure.Both)
	const swaps = 200
	before := server.Statements()
	if err := cases[1].Run(swaps); err != nil {
		return nil, err
	}
	targets[2].Got = float64(server.Statements()-before) / swaps
	return targets, nil
}

// oneProcessor measures cases that wait for a server, with one processor of Go code: the other is the server's.
func oneProcessor(cases []measure.Case, o options) ([]measure.Series, error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	return measure.Interleave(cases, o.rounds, o.batch)
}
