package stores

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/benchmarks/measure"
	"github.com/sallyport/sallyport/session"
	"github.com/sallyport/sallyport/session/redisstore"
)

// Workers is how many operations are under way at a time.
const Workers = 16

// Names of the ways to write a record if nobody else has.
const (
	BareScript  = "bare Lua compare-and-set, a string"
	BareHash    = "bare Lua compare-and-set, a hash"
	RedisSwap   = "redisstore.Swap"
	BareUpdate  = "bare UPDATE … WHERE version"
	PgSwap      = "pgstore.Swap"
	Transaction = "SELECT FOR UPDATE, UPDATE, COMMIT"
)

// value is a record of a session, about 2 kB.
var value = []byte(strings.Repeat("0123456789abcdef", 128))

func key(w int) string { return fmt.Sprintf("s:%043d", w) }

// The least that a compare-and-set of a value with a version in front can be: the caller makes the version, so it can come again.
const bareScript = `if redis.call('GETRANGE', KEYS[1], 0, 7) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1`

// What one would write without much thought.
const hashScript = `local v = redis.call('HGET', KEYS[1], 'v')
if v ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'v', ARGV[2], 'd', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1`

// RedisSwaps are the ways in Redis, each worker with a record of its own. All have the client of redisstore.Open, or one that is
// configured like it.
func RedisSwaps(r *Redis) ([]measure.Case, error) {
	store, err := redisstore.Open(r.URL())
	if err != nil {
		return nil, err
	}
	o, err := redis.ParseURL(r.URL())
	if err != nil {
		return nil, err
	}
	o.ContextTimeoutEnabled = true
	client := redis.NewClient(o)
	versions := make([][3]int64, Workers)
	ctx := context.Background()
	for w := range Workers {
		if versions[w][0], err = store.Swap(ctx, key(w), 0, value, time.Hour); err != nil {
			return nil, err
		}
		if err := errors.Join(
			client.Set(ctx, "bare:"+key(w), append(make([]byte, 8), value...), time.Hour).Err(),
			client.HSet(ctx, "hash:"+key(w), "v", make([]byte, 8), "d", value).Err(),
		); err != nil {
			return nil, err
		}
	}
	number := func(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }
	script := func(text, prefix string, field int, args func(old, next []byte) []any) func(w int) error {
		s := redis.NewScript(text)
		return func(w int) error {
			v := &versions[w][field]
			n, err := s.Run(ctx, client, []string{prefix + key(w)}, args(number(*v), number(*v+1))...).Int()
			if err == nil && n != 1 {
				err = errors.New("the version is another one")
			}
			*v++
			return err
		}
	}
	const hour = int64(time.Hour / time.Millisecond)
	return concurrent(r.CPU, []way{
		{BareScript, script(bareScript, "bare:", 1, func(old, next []byte) []any { return []any{old, append(next, value...), hour} })},
		{BareHash, script(hashScript, "hash:", 2, func(old, next []byte) []any { return []any{old, next, value, hour} })},
		{RedisSwap, swapper(ctx, store, func(w int) *int64 { return &versions[w][0] })},
	}), nil
}

func swapper(ctx context.Context, store session.Store, version func(w int) *int64) func(w int) error {
	return func(w int) (err error) {
		v := version(w)
		*v, err = store.Swap(ctx, key(w), *v, value, time.Hour)
		return err
	}
}

// PostgresSwaps are the ways in PostgreSQL, with the pool of p. The bare ones have a table without any layout.
func PostgresSwaps(p *Postgres) ([]measure.Case, error) {
	ctx := context.Background()
	if _, err := p.Pool.Exec(ctx, "create table plain (key text primary key, version bigint not null, value bytea not null, expires_at timestamptz not null)"); err != nil {
		return nil, err
	}
	versions, plain := make([]int64, Workers), make([]int64, Workers)
	for w := range Workers {
		var err error
		if versions[w], err = p.Store.Swap(ctx, key(w), 0, value, time.Hour); err != nil {
			return nil, err
		}
		if _, err := p.Pool.Exec(ctx, "insert into plain values ($1, 0, $2, now() + interval '1 hour')", key(w), value); err != nil {
			return nil, err
		}
	}
	return concurrent(p.CPU, []way{
		{BareUpdate, func(w int) error {
			return p.Pool.QueryRow(ctx, "update plain set version = version + 1, value = $2, expires_at = now() + $4 * interval '1 second' where key = $1 and version = $3 returning version",
				key(w), value, plain[w], 3600).Scan(&plain[w])
		}},
		{PgSwap, swapper(ctx, p.Store, func(w int) *int64 { return &versions[w] })},
		{Transaction, func(w int) error {
			tx, err := p.Pool.Begin(ctx)
			if err != nil {
				return err
			}
			var v int64
			err = tx.QueryRow(ctx, "select version from plain where key = $1 for update", key(w)).Scan(&v)
			if err == nil && v != plain[w] {
				err = errors.New("the version is another one")
			}
			if err == nil {
				_, err = tx.Exec(ctx, "update plain set version = $2, value = $3, expires_at = now() + $4 * interval '1 second' where key = $1", key(w), v+1, value, 3600)
			}
			if err != nil {
				return errors.Join(err, tx.Rollback(ctx))
			}
			plain[w]++
			return tx.Commit(ctx)
		}},
	}), nil
}

type way struct {
	name string
	run  func(worker int) error
}

func concurrent(server func() (time.Duration, error), ways []way) (cases []measure.Case) {
	for _, c := range ways {
		cases = append(cases, measure.Case{Name: c.name, Server: server, Run: func(n int) error {
			return measure.Concurrently(Workers, n, func(w, n int) error {
				for range n {
					if err := c.run(w); err != nil {
						return err
					}
				}
				return nil
			})
		}})
	}
	return cases
}
