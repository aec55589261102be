package redisstore

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// limit is how long an operation takes at most.
const limit = 3 * time.Second

// call is one command on its way. It runs in a goroutine of its own, because the client looks at a context only between its
// steps: while it waits for an answer it knows the deadline, but not that the context is cancelled. The goroutine
// costs about a microsecond, and a cancelled request costs no connection.
type call struct {
	client redis.UniversalClient
	ctx    context.Context // of this call alone
	cmd    redis.Cmder
	err    error
	value  []byte // what a command refers to that may outlive its caller

	start func()        // do, bound once
	done  chan struct{} // has room for one
	timer *time.Timer
}

var calls = sync.Pool{New: func() any {
	c := &call{done: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
	c.timer.Stop()
	c.start = c.do
	return c
}}

func (s *Store) newCall(ctx context.Context) *call {
	c := calls.Get().(*call)
	c.client, c.ctx = s.client, ctx
	return c
}

func (c *call) do() {
	c.err = c.client.Process(c.ctx, c.cmd)
	if swap, ok := c.cmd.(swapCmd); ok && c.err != nil && redis.HasErrorPrefix(c.err, "NOSCRIPT") {
		c.cmd = swap.withScript(c.ctx)
		c.err = c.client.Process(c.ctx, c.cmd)
	}
	c.done <- struct{}{}
}

// run returns the command with its answer, and the client's error, or that of the context if it is done first, or errSlow.
// The call is used up.
func (c *call) run() (redis.Cmder, error) {
	if err := c.ctx.Err(); err != nil {
		return nil, err
	}
	ctx := c.ctx
	c.timer.Reset(limit)
	go c.start()
	select {
	case <-c.done:
		c.timer.Stop()
		cmd, err := c.cmd, c.err
		c.client, c.ctx, c.cmd, c.err = nil, nil, nil, nil
		calls.Put(c)
		return cmd, err
	case <-ctx.Done():
		c.timer.Stop()
		return nil, ctx.Err()
	case <-c.timer.C:
		return nil, errSlow
	}
}
