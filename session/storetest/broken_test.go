package storetest_test

import (
	"bytes"
	"context"
	"errors"
	"hash/fnv"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/session"
)

// server is a store with a flaw, or with none: the kit must tell which.
type server struct {
	flaw string

	mu      sync.Mutex
	records map[string]*row
	version int64
	swaps   int
	paused  chan struct{} // closed by the end of the outage
}

type row struct {
	value, before []byte
	version       int64
	until         time.Time
	ttl           time.Duration
}

// connection is one handle of it.
type connection struct {
	*server
	mu     sync.Mutex
	cached map[string]row // what this connection has seen
	stray  *row           // an answer that nobody took
}

var errBroken = errors.New("connection broken")

func newServer(flaw string) *server { return &server{flaw: flaw, records: map[string]*row{}} }

func (s *server) connect() *connection { return &connection{server: s, cached: map[string]row{}} }

func (s *server) Shared() bool { return true }

func (s *server) name(key string) string {
	switch s.flaw {
	case "keys in lower case":
		return strings.ToLower(key)
	case "keys of 63 bytes":
		return key[:min(len(key), 63)]
	case "colons are a path":
		return strings.ReplaceAll(key, "::", ":")
	}
	return key
}

// reach is the way to the server.
func (s *server) reach(ctx context.Context) error {
	if ctx.Err() != nil {
		switch s.flaw {
		case "a done context is waited out":
			time.Sleep(3 * time.Second)
		case "a done context is absence":
			return session.ErrNotFound
		case "a done context is a conflict":
			return session.ErrConflict
		}
		return ctx.Err()
	}
	s.mu.Lock()
	paused := s.paused
	s.mu.Unlock()
	if paused == nil {
		return nil
	}
	switch s.flaw {
	case "an outage is waited out":
		<-paused
		return nil
	case "an outage is absence":
		return session.ErrNotFound
	}
	patience := time.After(time.Second)
	if s.flaw == "an outage ignores the context" {
		<-patience
		time.Sleep(3 * time.Second)
		return errBroken
	}
	select {
	case <-paused:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-patience:
		return errBroken
	}
}

// living returns the record, nil if there is none.
func (s *server) living(key string) *row {
	r := s.records[key]
	if r == nil || !time.Now().Before(r.until) && s.flaw != "never expires" {
		return nil
	}
	return r
}

func (c *connection) Get(ctx context.Context, key string) ([]byte, int64, error) {
	if err := c.reach(ctx); err != nil {
		return nil, 0, err
	}
	key = c.name(key)
	if c.flaw == "answers go astray" {
		c.mu.Lock()
		stray := c.stray
		c.stray = nil
		c.mu.Unlock()
		if stray != nil {
			return stray.value, stray.version, nil
		}
	}
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	r := c.living(key)
	if c.flaw == "reads are cached" {
		if seen, ok := c.cached[key]; ok && r != nil && seen.version%3 != 0 {
			r = &seen
		} else if r != nil {
			c.cached[key] = *r
		}
	}
	switch {
	case r == nil && c.flaw == "absent is empty":
		return nil, 0, nil
	case r == nil, c.flaw == "empty is absent" && len(r.value) == 0:
		return nil, 0, session.ErrNotFound
	case c.flaw == "a read prolongs":
		r.until = time.Now().Add(r.ttl)
	case c.flaw == "returns its own value":
		return r.value, r.version, nil
	}
	return bytes.Clone(r.value), r.version, nil
}

func (c *connection) Swap(ctx context.Context, key string, old int64, value []byte, ttl time.Duration) (int64, error) {
	if err := c.reach(ctx); err != nil {
		if errors.Is(err, session.ErrNotFound) {
			err = session.ErrConflict
		}
		return 0, err
	}
	name := c.name(key)
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if c.swaps++; c.flaw == "a conflict without a cause" && c.swaps%7 == 0 {
		return 0, session.ErrConflict
	}
	r := c.living(name)
	last := c.records[name]
	if !c.agrees(r, last, old) {
		if r != nil && c.flaw == "a conflict moves the expiry" {
			r.until = time.Now().Add(ttl)
		}
		return 0, session.ErrConflict
	}
	// Those that look first and write later.
	if c.flaw == "looks first" && r != nil || c.flaw == "looks first if absent" && last == nil ||
		c.flaw == "looks first if expired" && r == nil && last != nil {
		c.server.mu.Unlock()
		time.Sleep(time.Millisecond)
		c.server.mu.Lock()
	}
	next := &row{value: c.stored(value), version: c.next(last, r, value), until: time.Now().Add(c.lifetime(ttl)), ttl: ttl}
	if last != nil {
		next.before = last.value
		if c.flaw == "ttl of the first write" && r != nil {
			next.until = r.until
		}
	}
	switch {
	case c.flaw == "acknowledges only" && r != nil:
		next.value = r.value
	case c.flaw == "writes in two parts" && len(value) > 100:
		half := *next
		half.value = append(bytes.Clone(value[:50]), make([]byte, len(value)-50)...)
		c.records[name] = &half
		c.server.mu.Unlock()
		time.Sleep(200 * time.Microsecond)
		c.server.mu.Lock()
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	case c.flaw == "answers go astray" && ctx.Done() != nil:
		c.server.mu.Unlock()
		time.Sleep(200 * time.Microsecond)
		c.server.mu.Lock()
		if ctx.Err() != nil {
			c.mu.Lock()
			c.stray = next
			c.mu.Unlock()
		}
	}
	c.records[name] = next
	if c.flaw == "another version" {
		return next.version + 1, nil
	}
	return next.version, nil
}

// agrees is the comparison of compare-and-swap.
func (s *server) agrees(r, last *row, old int64) bool {
	switch {
	case s.flaw == "0 overwrites" && old == 0, s.flaw == "older is good enough" && r != nil && old != 0 && old <= r.version:
		return true
	case s.flaw == "negative is absent" && old < 0 && r == nil, s.flaw == "any version creates" && r == nil:
		return true
	case s.flaw == "what has expired conflicts" && last != nil:
		return old == last.version
	case s.flaw == "versions of 32 bits" && r != nil:
		return int32(old) == int32(r.version)
	case s.flaw == "empty is absent" && r != nil && len(r.value) == 0:
		return old == 0 || old == r.version
	}
	if r == nil {
		return old == 0
	}
	return old == r.version
}

func (s *server) next(last, r *row, value []byte) int64 {
	switch s.flaw {
	case "version of the value":
		h := fnv.New64a()
		h.Write(value)
		if last != nil {
			h.Write(last.value)
		}
		return int64(h.Sum64() >> 1)
	case "version starts again":
		if r == nil {
			return 1
		}
		return r.version + 1
	case "version may be negative":
		s.version--
		return s.version
	}
	s.version++
	return s.version
}

func (s *server) stored(value []byte) []byte {
	switch s.flaw {
	case "keeps the passed value":
		return value
	case "text":
		return bytes.ToValidUTF8(value, []byte("?"))
	case "ends at NUL":
		value, _, _ = bytes.Cut(value, []byte{0})
	case "cuts at 60 kB":
		value = value[:min(len(value), 60_000)]
	}
	return bytes.Clone(value)
}

func (s *server) lifetime(ttl time.Duration) time.Duration {
	switch {
	case s.flaw == "whole seconds":
		return ttl.Truncate(time.Second)
	case s.flaw == "milliseconds of 32 bits":
		return time.Duration(int32(ttl.Milliseconds())) * time.Millisecond
	case s.flaw == "microseconds of 32 bits":
		return time.Duration(uint32(ttl.Microseconds())) * time.Microsecond
	case s.flaw == "at most 30 days" && ttl > 30*24*time.Hour:
		return ttl - math.MaxInt32*time.Second
	}
	return ttl
}

// pause begins an outage.
func (s *server) pause() (resume func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	paused := make(chan struct{})
	s.paused = paused
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.paused = nil
		close(paused)
	}
}

// restart loses every third record.
func (s *server) restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for name, r := range s.records {
		switch n++; {
		case n%3 == 0:
			delete(s.records, name)
		case s.flaw == "a restart mixes":
			r.value = r.before
		}
	}
	if s.flaw == "a restart counts from 1" {
		s.version = 0
	}
}
