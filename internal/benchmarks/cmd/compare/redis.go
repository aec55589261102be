package main

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/sallyport/sallyport/internal/backing"
	"github.com/sallyport/sallyport/internal/benchmarks/measure"
	"github.com/sallyport/sallyport/internal/benchmarks/sessions"
	"github.com/sallyport/sallyport/internal/benchmarks/stores"
)

// redisRead is a logged-in request whose session is in a Redis, through a handler, sixteen at a time on one processor of Go
// code. What counts is what it adds to a handler that reads no session, beside what a bare GET adds.
func redisRead(o options) ([]measure.Target, error) {
	targets := []measure.Target{
		{What: "session in Redis, CPU added to a request, over a bare GET's", Bound: 1.3, Unit: "×"},
		{What: "session in Redis, allocations", Bound: 14},
		{What: "session in Redis, commands a request", Bound: 1},
		{What: "session in Redis, writes a request", Bound: 0},
	}
	server, err := stores.StartRedis()
	if errors.Is(err, backing.ErrMissing) {
		return missing(targets, "redis-server is not installed"), nil
	}
	if err != nil {
		return nil, err
	}
	defer server.Stop()
	var cases []measure.Case
	ours := -1
	setups := []*sessions.Setup{}
	for i, k := range sessions.InRedis(server.Addr()) {
		s, err := k.New()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.Name, err)
		}
		if k.Name == sessions.RedisSallyport {
			ours = i
		}
		setups = append(setups, s)
		cases = append(cases, measure.Case{Name: k.Name, Run: s.ReadConcurrently, Server: server.CPU})
	}
	// One request at a time would wake an idle core each, which costs more than all the rest, and is not what a
	// server under load does.
	all, err := oneProcessor(cases, o)
	if err != nil {
		return nil, err
	}
	fmt.Printf("\n## A session in Redis: one request through a handler\n\n%s", measure.Table(all, sessions.RedisFloor, "Redis CPU µs", serverTime(all)))
	bare := measure.Find(all, sessions.Bare)
	targets[0] = over(targets[0], measure.Find(all, sessions.RedisSallyport).Less(bare), measure.Find(all, sessions.RedisFloor).Less(bare), measure.CPU)
	targets[1].Got = measure.Find(all, sessions.RedisSallyport).Median(measure.Allocs)

	const requests = 1000
	before, err := server.Commands()
	if err != nil {
		return nil, err
	}
	if err := setups[ours].Read(requests); err != nil {
		return nil, err
	}
	after, err := server.Commands()
	if err != nil {
		return nil, err
	}
	// Once in five seconds a process asks whether every session was ended: that is not the request's.
	targets[2].Got = math.Round(float64(after.Since(before).Trips())/requests*100) / 100
	targets[3].Got = float64(after.Written(before)) / requests
	if targets[2].Got == 0 {
		return nil, errors.New("no command was counted")
	}
	return targets, nil
}

// redisLoad is redisRead over HTTP.
func redisLoad(o options) ([]measure.Target, error) {
	target := measure.Target{What: "session in Redis, CPU added to a request over HTTP, over a bare GET's", Bound: 1.3, Unit: "×"}
	server, err := stores.StartRedis()
	if errors.Is(err, backing.ErrMissing) {
		target.Missing = "redis-server is not installed"
		return []measure.Target{target}, nil
	}
	if err != nil {
		return nil, err
	}
	defer server.Stop()
	loaded, bares, err := underLoad(o, server.Addr(), sessions.RedisFloor, sessions.RedisSallyport, sessions.RedisCoordination, sessions.RedisSCS, sessions.RedisGorilla)
	switch {
	case errors.Is(err, errNoWrk):
		target.Missing = err.Error()
		return []measure.Target{target}, nil
	case err != nil:
		return nil, err
	}
	fmt.Printf("\n## A session in Redis, over HTTP\n\n%s", loadTable(loaded, bares))
	less := func(name string) measure.Series {
		s, b := measure.Find(loaded, name), measure.Find(bares, name)
		return s.Less(b)
	}
	target = over(target, less(sessions.RedisSallyport), less(sessions.RedisFloor), measure.CPU)
	target.Minima = 0 // the least difference is that of the round that disturbed the bare server most
	return []measure.Target{target}, nil
}

// over fills a target with the ratio of two series.
func over(t measure.Target, s, base measure.Series, m measure.Metric) measure.Target {
	r := s.Over(&base, m)
	t.Got, t.Minima = r.Median, r.Minima
	return t
}

func missing(targets []measure.Target, why string) []measure.Target {
	for i := range targets {
		targets[i].Missing = why
	}
	return targets
}

// serverTime is a column of measure.Table.
func serverTime(all []measure.Series) func(name string) string {
	return func(name string) string {
		s := measure.Find(all, name)
		if us := s.Median(measure.Server) / float64(time.Microsecond); us >= 0.01 {
			return measure.Number(us)
		}
		return ""
	}
}
