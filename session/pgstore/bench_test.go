package pgstore

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// each runs op b.N times on g goroutines, each with a number of its own, and reports the median and the 99th percentile.
func each(b *testing.B, g int, op func(ctx context.Context, goroutine int) error) {
	b.Helper()
	b.ReportAllocs()
	ctx, cancel := context.WithCancel(b.Context()) // as the context of a request is
	defer cancel()
	took := make([][]time.Duration, g)
	var wg sync.WaitGroup
	b.ResetTimer()
	for i := range g {
		n := b.N / g
		if i < b.N%g {
			n++
		}
		took[i] = make([]time.Duration, 0, n)
		wg.Go(func() {
			for range n {
				began := time.Now()
				if err := op(ctx, i); err != nil {
					b.Error(err)
					return
				}
				took[i] = append(took[i], time.Since(began))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	all := slices.Concat(took...)
	slices.Sort(all)
	if len(all) > 0 {
		b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
		b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
	}
}

// BenchmarkStore sets the store beside the least that pgx can do for the same on a table without any layout, and the write
// beside the transaction that it spares. A value has 2 kB.
func BenchmarkStore(b *testing.B) {
	const most = 32
	_, url := fresh(b)
	s := onPool(b, url, Options{}, func(c *pgxpool.Config) { c.MaxConns = most })
	pool := s.pool
	ctx := b.Context()
	execute(b, url, "create table plain (key text primary key, version bigint not null, value bytea not null, expires_at timestamptz not null)")
	value := make([]byte, 2000)
	_, _ = rand.Read(value) // as sealed ones do, it resists compression
	var versions, plain [most]int64
	key := func(i int) string { return fmt.Sprintf("s:%041d", i) }
	keys := make([]string, most)
	for i := range most {
		keys[i] = key(i)
		versions[i] = swap(b, s, keys[i], 0, string(value), time.Hour)
		plain[i] = 1
		if _, err := pool.Exec(ctx, "insert into plain values ($1, 1, $2, now() + interval '1 hour')", keys[i], value); err != nil {
			b.Fatal(err)
		}
	}
	var connected []*pgxpool.Conn
	for range most { // all connections, before anything is measured
		conn, err := pool.Acquire(ctx)
		if err != nil {
			b.Fatal(err)
		}
		connected = append(connected, conn)
	}
	for _, conn := range connected {
		conn.Release()
	}
	for _, g := range []int{1, most} {
		b.Run(fmt.Sprintf("get/bare/g=%d", g), func(b *testing.B) {
			each(b, g, func(ctx context.Context, i int) error {
				var v []byte
				var n int64
				return pool.QueryRow(ctx, "select value, version from plain where key = $1", keys[i]).Scan(&v, &n)
			})
		})
		b.Run(fmt.Sprintf("get/store/g=%d", g), func(b *testing.B) {
			each(b, g, func(ctx context.Context, i int) error {
				_, _, err := s.Get(ctx, keys[i])
				return err
			})
		})
		b.Run(fmt.Sprintf("swap/bare/g=%d", g), func(b *testing.B) {
			each(b, g, func(ctx context.Context, i int) error {
				return pool.QueryRow(ctx, "update plain set version = version + 1, value = $2 where key = $1 and version = $3 returning version",
					keys[i], value, plain[i]).Scan(&plain[i])
			})
		})
		b.Run(fmt.Sprintf("swap/store/g=%d", g), func(b *testing.B) {
			each(b, g, func(ctx context.Context, i int) (err error) {
				versions[i], err = s.Swap(ctx, keys[i], versions[i], value, time.Hour)
				return err
			})
		})
		b.Run(fmt.Sprintf("swap/transaction/g=%d", g), func(b *testing.B) {
			each(b, g, func(ctx context.Context, i int) error {
				return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
					if err := tx.QueryRow(ctx, "select version from plain where key = $1 for update", keys[i]).Scan(&plain[i]); err != nil {
						return err
					}
					plain[i]++
					_, err := tx.Exec(ctx, "update plain set version = $2, value = $3 where key = $1", keys[i], plain[i], value)
					return err
				})
			})
		})
		b.Run(fmt.Sprintf("create/store/g=%d", g), func(b *testing.B) {
			n := make([]int, g)
			each(b, g, func(ctx context.Context, i int) error {
				n[i]++
				_, err := s.Swap(ctx, fmt.Sprintf("c:%d:%d:%d", b.N, i, n[i]), 0, value[:100], time.Second)
				return err
			})
		})
		b.Run(fmt.Sprintf("late/store/g=%d", g), func(b *testing.B) {
			each(b, g, func(ctx context.Context, i int) error {
				_, _ = s.Swap(ctx, keys[i], 0, value, time.Hour)
				return nil
			})
		})
	}
}
