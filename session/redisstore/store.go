// Package redisstore keeps sessions in Redis: one server, one behind Sentinel, or a Redis Cluster.
//
//	store, err := redisstore.Open("redis://user:password@redis.example:6379/0")
//	sessions, err := session.New(session.Config{Keys: keys, Store: store})
//
// Open makes a client with timeouts that suit a login; New takes the application's own.
//
// # What is in Redis
//
// One string for each record, at the prefix and the key in braces, as in sallyport:{key}: the braces make the key the
// hash tag, so that all that concerns one record is in one slot. The string is the version, eight bytes with the
// highest first, and then the value. The expiry is that of Redis. Get is one GET; Swap is one script on one key.
// An ACL needs ~sallyport:* and the commands get, getrange, set, setrange, exists, time, eval and evalsha. Redis has to be 5 or
// newer; set maxmemory-policy to noeviction, for a record that is evicted is a user logged out.
//
// # Versions
//
// A version is the server's clock in microseconds, or the last version and one if that is more. So no version comes again
// when a record expires, or when a server that restarts has lost its last writes, as long as its clock is not
// set back. If it is, or if the clock of a server that takes over is behind, a version could come again only in the very
// same microsecond. The scripting language has numbers with 53 bits: enough until the year 2255.
//
// # What can be lost
//
// Redis acknowledges a write before it is on a disk and before a replica has it. With appendfsync everysec
// a crash loses up to a second of writes, a failover what the replica had not received yet: milliseconds, if it keeps
// up. A master that a network partition cuts off serves its old records, and takes writes that are lost
// later, until it notices (cluster-node-timeout, min-replicas-to-write).
package redisstore

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/session"
)

// DefaultPrefix is what the keys in Redis begin with.
const DefaultPrefix = "sallyport:"

// headerSize is the length of the version in front of the value.
const headerSize = 8

// maxVersion is the largest integer up to which the scripting language counts one by one.
const maxVersion = 1 << 53

// Options of New. The zero value is a good choice.
type Options struct {
	// Prefix is what the keys in Redis begin with, DefaultPrefix if it is empty. It has no braces. Two applications that
	// share a Redis want two prefixes.
	Prefix string
}

// Store is a session.Store in Redis. It may be used concurrently.
//
// Its operations return after three seconds at most, or when their deadline is over, whatever the client's settings are.
// A cancelled one returns at once, except that one that is on its way in the moment in which Redis stops answering may
// wait until the client's read timeout, a second with Open. What is left behind by that ends by the client's own timeouts.
//
// A Swap that was sent is not sent again, even by a client that repeats commands, unless the server has refused it: a
// repeated one would find its own record and report session.ErrConflict for a write that took effect.
type Store struct {
	client   redis.UniversalClient
	prefix   string
	reload   func(context.Context) // asks a cluster client to look at the cluster again; nil for others
	owned    bool
	punctual bool        // the client looks at deadlines
	silent   atomic.Bool // the last command that ended had no answer
}

var _ session.Store = (*Store)(nil)

// New returns a store that uses the client, which stays the caller's to close. It is an error if the client would serve
// what is not current, or would not return: a client that reads from replicas or from a cache of its own, a redis.Ring,
// whose shards know nothing of each other, or a client without a read timeout. A failover client with ReplicaOnly
// cannot be told from others: do not use it. New does not connect.
func New(client redis.UniversalClient, o Options) (*Store, error) {
	s := &Store{client: client, prefix: o.Prefix}
	if s.prefix == "" {
		s.prefix = DefaultPrefix
	}
	if strings.ContainsAny(s.prefix, "{}") {
		return nil, errors.New("sallyport: a prefix for Redis has no braces")
	}
	var timeout time.Duration
	cached := false
	switch c := client.(type) {
	case nil:
		return nil, errors.New("sallyport: there is no Redis client")
	case *redis.Ring:
		return nil, errors.New("sallyport: a redis.Ring cannot keep sessions: its shards know nothing of each other")
	case *redis.Client:
		timeout, s.punctual = c.Options().ReadTimeout, c.Options().ContextTimeoutEnabled
		cached = c.Options().ClientSideCache != nil || c.Options().ClientSideCacheConfig != nil
	case *redis.ClusterClient:
		if c.Options().ReadOnly {
			return nil, errors.New("sallyport: this Redis client reads from replicas, which may be behind")
		}
		timeout, s.punctual = c.Options().ReadTimeout, c.Options().ContextTimeoutEnabled
		s.reload = c.ReloadState
	default:
		return s, nil
	}
	if cached {
		return nil, errors.New("sallyport: this Redis client reads from a cache of its own, which may be behind")
	}
	if timeout <= 0 {
		return nil, errors.New("sallyport: this Redis client has no read timeout")
	}
	return s, nil
}

// Close closes the client if Open has made it.
func (s *Store) Close() error {
	if !s.owned {
		return nil
	}
	return s.client.Close()
}

// Shared reports that other processes see the same records.
func (s *Store) Shared() bool { return true }

// Limit is how long an operation takes at most, whatever the client's settings.
func (s *Store) Limit() time.Duration { return limit }

// OwnWords says that no error of this store has a key, a value, an address or a word of the server's in its text.
func (s *Store) OwnWords() {}

func (s *Store) name(key string) string { return s.prefix + "{" + key + "}" }

// Get returns the record and its version, or session.ErrNotFound. Any other error means that nothing is known; it is also
// what a value that is not ours gets. The errors wrap context.Canceled and context.DeadlineExceeded if that is
// why, and nothing else.
func (s *Store) Get(ctx context.Context, key string) ([]byte, int64, error) {
	cmd := redis.NewStringCmd(ctx, "get", s.name(key))
	c := s.newCall(ctx)
	c.cmd = cmd
	switch _, err := c.run(); {
	case errors.Is(err, redis.Nil):
		return nil, 0, session.ErrNotFound
	case err != nil:
		return nil, 0, failure(ctx, err)
	}
	value, _ := cmd.Bytes() // without a copy: nobody else has it
	if len(value) < headerSize {
		return nil, 0, errForeign
	}
	version := binary.BigEndian.Uint64(value)
	if version == 0 || version > maxVersion {
		return nil, 0, errForeign
	}
	return value[headerSize:], int64(version), nil
}
