package stores

import (
	"context"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sallyport/sallyport/internal/backing"
	"github.com/sallyport/sallyport/session/pgstore"
)

// Postgres is a private PostgreSQL with a store in it.
type Postgres struct {
	*backing.Postgres
	Pool  *pgxpool.Pool // of Store
	Store *pgstore.Store

	dir        string
	admin      *pgx.Conn
	statements atomic.Int64
}

// StartPostgres starts one, as durable as a real one, with its table. The error is backing.ErrMissing if PostgreSQL is not
// installed.
func StartPostgres(conns int32) (p *Postgres, err error) {
	ctx := context.Background()
	p = &Postgres{}
	defer func() {
		if err != nil {
			p.Stop()
		}
	}()
	if p.dir, err = os.MkdirTemp("", "postgres"); err != nil {
		return nil, err
	}
	if p.Postgres, err = backing.StartPostgres(ctx, p.dir); err != nil {
		return nil, err
	}
	if p.admin, err = pgx.Connect(ctx, p.URL()); err != nil {
		return nil, err
	}
	config, err := pgstore.PoolConfig(p.URL())
	if err != nil {
		return nil, err
	}
	config.MaxConns = conns
	config.ConnConfig.Tracer = tracer{&p.statements}
	if p.Pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, err
	}
	if p.Store, err = pgstore.New(p.Pool, pgstore.Options{}); err != nil {
		return nil, err
	}
	return p, p.Store.Migrate(ctx)
}

// Stop ends the server and deletes its data.
func (p *Postgres) Stop() {
	if p.Pool != nil {
		p.Pool.Close()
	}
	if p.admin != nil {
		_ = p.admin.Close(context.Background())
	}
	if p.Postgres != nil {
		p.Postgres.Stop()
	}
	_ = os.RemoveAll(p.dir)
}

// Query is for a question about the server that has one row as its answer.
func (p *Postgres) Query(sql string, columns ...any) error {
	return p.admin.QueryRow(context.Background(), sql).Scan(columns...)
}

// Statements is how many the pool has sent.
func (p *Postgres) Statements() int64 { return p.statements.Load() }

type tracer struct{ n *atomic.Int64 }

func (t tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	t.n.Add(1)
	return ctx
}

func (tracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// CPU is the processor time of the processes that the server has now: those of the connections and those that write to the
// disk. It is 0 where the system does not tell.
func (p *Postgres) CPU() (time.Duration, error) {
	var pids []int32
	if err := p.Query("select array_agg(pid) from pg_stat_activity where backend_type <> 'autovacuum worker'", &pids); err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, pid := range pids {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(int(pid)) + "/schedstat")
		if err != nil {
			continue
		}
		ns, _, _ := strings.Cut(string(b), " ")
		n, _ := strconv.ParseInt(ns, 10, 64)
		sum += time.Duration(n)
	}
	return sum, nil
}
