package redisstore

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// limit is how long an operation takes at most.
const limit = 2 * time.Second

// call is one command on its way.
//
// While a client waits for an answer it knows the deadline of the context, if it looks at contexts at all, but not
// that the context is cancelled. Only a caller that has left the waiting to another goroutine can return then. That costs
// a microsecond on a busy machine and ten on an idle one, whose other processor it wakes: as much as a third of
// the whole operation. So it is done for clients that do not look at deadlines, and for the others as long as Redis does not
// answer (Store.silent). What is on its way at the moment at which Redis falls silent waits for the deadline or the client's
// timeout, cancelled or not.
type call struct {
	store   *Store
	ctx     context.Context // of this call alone: limited
	limited bounded
	cmd     redis.Cmder
	err     error
	value   []byte // what a command refers to that may outlive its caller

	start func()        // do and a message to done, bound once
	done  chan struct{} // has room for one
	timer *time.Timer
}

var calls = sync.Pool{New: func() any {
	c := &call{done: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
	c.timer.Stop()
	c.start = func() {
		c.do()
		c.done <- struct{}{}
	}
	return c
}}

// bounded is a context with a deadline and no timer.
type bounded struct {
	context.Context
	deadline time.Time
}

func (b *bounded) Deadline() (time.Time, bool) {
	if d, ok := b.Context.Deadline(); ok && d.Before(b.deadline) {
		return d, true
	}
	return b.deadline, true
}

func (s *Store) newCall(ctx context.Context) *call {
	c := calls.Get().(*call)
	c.store, c.limited = s, bounded{ctx, time.Now().Add(limit)}
	c.ctx = &c.limited
	return c
}

// do executes the command, and notes whether Redis has answered.
func (c *call) do() {
	s := c.store
	c.err = s.client.Process(c.ctx, c.cmd)
	if swap, ok := c.cmd.(swapCmd); ok && c.err != nil && redis.HasErrorPrefix(c.err, "NOSCRIPT") {
		c.cmd = swap.withScript(c.ctx)
		c.err = s.client.Process(c.ctx, c.cmd)
	}
	silent := c.err != nil && !isReply(c.err)
	if silent != s.silent.Load() {
		s.silent.Store(silent)
	}
	// A cluster client looks at the cluster again when a server redirects it, but not when one is gone. It does so in the
	// background, a few times a second at most.
	if s.reload != nil && (silent || redis.IsClusterDownError(c.err)) {
		s.reload(c.ctx)
	}
}

// run returns the command with its answer, and the client's error, or that of the context if it is done first, or errSlow.
// The call is used up.
func (c *call) run() (redis.Cmder, error) {
	if err := c.ctx.Err(); err != nil {
		return nil, err
	}
	if c.store.punctual && !c.store.silent.Load() {
		c.do()
		return c.end()
	}
	ctx := c.ctx
	c.timer.Reset(limit)
	go c.start()
	select {
	case <-c.done:
		c.timer.Stop()
		return c.end()
	case <-ctx.Done():
		c.timer.Stop()
		return nil, ctx.Err()
	case <-c.timer.C:
		return nil, errSlow
	}
}

func (c *call) end() (redis.Cmder, error) {
	cmd, err := c.cmd, c.err
	c.store, c.ctx, c.limited, c.cmd, c.err = nil, nil, bounded{}, nil, nil
	calls.Put(c)
	return cmd, err
}
