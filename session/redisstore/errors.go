package redisstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	errForeign = errors.New("sallyport: what Redis has under this key is not a record of this store")
	errSlow    = errors.New("sallyport: Redis did not answer in time")
)

// replies are the errors of a server that deserve words of their own. The server's text may name keys and addresses.
var replies = []struct{ prefix, words string }{
	{"WRONGTYPE", ""}, // errForeign
	{"OOM", "has no memory left"},
	{"READONLY", "is a replica"},
	{"LOADING", "is still loading its data"},
	{"CLUSTERDOWN", "has no server for this part of the cluster"},
	{"MASTERDOWN", "has lost its master"},
	{"MOVED", "keeps redirecting"},
	{"ASK", "keeps redirecting"},
	{"TRYAGAIN", "is moving this part of the cluster"},
	{"MISCONF", "cannot write to its disk"},
	{"NOREPLICAS", "has too few replicas"},
	{"BUSY", "is busy with a script"},
	{"NOAUTH", "wants a password"},
	{"WRONGPASS", "refuses user or password"},
	{"NOPERM", "does not allow this user the command"},
	{"max number of clients", "has too many clients"},
}

// isReply reports whether the server has said so.
func isReply(err error) bool {
	_, ok := errors.AsType[redis.Error](err)
	return ok
}

// failure says in our own words why a command failed.
func failure(ctx context.Context, err error) error {
	cause := ctx.Err()
	if deadline, ok := ctx.Deadline(); ok && cause == nil && !time.Now().Before(deadline) {
		cause = context.DeadlineExceeded // the connection's timer was faster than the context's
	}
	if cause != nil {
		return fmt.Errorf("sallyport: Redis did not answer: %w", cause)
	}
	if isReply(err) {
		for _, r := range replies {
			if redis.HasErrorPrefix(err, r.prefix) {
				if r.words == "" {
					return errForeign
				}
				return errors.New("sallyport: Redis " + r.words)
			}
		}
		return errors.New("sallyport: Redis refuses the command")
	}
	if _, ok := errors.AsType[*dialError](err); ok {
		return errors.New("sallyport: Redis cannot be reached")
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return errors.New("sallyport: Redis cannot be reached")
	}
	timeout, ok := errors.AsType[net.Error](err)
	switch {
	case err == errSlow, ok && timeout.Timeout():
		return errSlow
	case errors.Is(err, redis.ErrClosed):
		return errors.New("sallyport: the Redis client is closed")
	case errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted):
		return errors.New("sallyport: all connections to Redis are busy")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), ok:
		return errors.New("sallyport: the connection to Redis broke")
	}
	return errors.New("sallyport: Redis failed")
}

// dialError keeps addresses out of the text that the client's logger prints when a server cannot be reached.
type dialError struct{ err error }

func (*dialError) Error() string   { return "the server cannot be reached" }
func (e *dialError) Unwrap() error { return e.err }
