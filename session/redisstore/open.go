package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// What Open sets where the URL does not. An operation on one server takes two attempts at most.
const (
	openTimeout   = time.Second
	openRetries   = 1
	openRedirects = 2 // a server that has moved, then one that is moving
)

// Open returns a store with a client of its own, made from a URL:
//
//	redis://user:password@host:6379/0               one server
//	rediss://…                                      the same over TLS; so for the others
//	unix://user:password@/path/to/socket?db=0       one server on this machine
//	redis+cluster://user:password@host:6379?addr=host2:6379&addr=host3:6379
//	redis+sentinel://user:password@host:26379/0?addr=host2:26379&master_name=mymaster&username=…&password=…
//
// What comes after redis+cluster and redis+sentinel is what go-redis documents at ParseClusterURL and ParseFailoverURL;
// with Sentinel the user before the host is the sentinels', and that in the query the master's. All of their
// parameters are known here, such as pool_size; in addition, prefix sets Options.Prefix. Without parameters
// the timeouts for connecting, reading, writing and for a free connection are a second each, a command is sent twice at
// most, and a Swap once. Parameters that make a client read from replicas are refused.
//
// Open does not connect: a Redis that is away must not keep an application from starting. go-redis has one logger for the
// process; what it prints when a server cannot be reached names no address if Open has made the client, but what it
// prints about sentinels does. An application that minds calls redis.SetLogger.
//
// The error says what is wrong with the URL, without a part of it.
func Open(rawURL string) (*Store, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, errURL
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errURL
	}
	o := Options{Prefix: q.Get("prefix")}
	q.Del("prefix")
	u.RawQuery = q.Encode()
	scheme, kind, _ := strings.Cut(u.Scheme, "+")
	u.Scheme = scheme

	var client redis.UniversalClient
	switch {
	case kind == "":
		client, err = openServer(u.String())
	case kind == "cluster" && scheme != "unix":
		client, err = openCluster(u.String())
	case kind == "sentinel" && scheme != "unix":
		client, err = openSentinel(u.String())
	default:
		err = errURL
	}
	if err != nil {
		return nil, err
	}
	s, err := New(client, o)
	if err != nil {
		_ = client.Close()
		return nil, err
	}
	s.owned = true
	return s, nil
}

// errURL stands for what go-redis says, which quotes the URL, password included.
var errURL = errors.New("sallyport: this is no URL of a Redis: see redisstore.Open")

func openServer(u string) (redis.UniversalClient, error) {
	o, err := redis.ParseURL(u)
	if err != nil {
		return nil, errURL
	}
	timeouts(&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.PoolTimeout)
	o.MaxRetries = or(o.MaxRetries, openRetries)
	o.DialerRetries = 1
	o.ContextTimeoutEnabled = true
	o.MaintNotificationsConfig = noMaintenance()
	o.Dialer = dialer(o.DialTimeout, o.TLSConfig)
	return redis.NewClient(o), nil
}

func openCluster(u string) (redis.UniversalClient, error) {
	o, err := redis.ParseClusterURL(u)
	if err != nil {
		return nil, errURL
	}
	if o.TLSConfig != nil {
		o.TLSConfig.MinVersion = tls.VersionTLS12
	}
	timeouts(&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.PoolTimeout)
	o.MaxRedirects = or(o.MaxRedirects, openRedirects)
	o.DialerRetries = or(o.DialerRetries, 1)
	o.ContextTimeoutEnabled = true
	o.MaintNotificationsConfig = noMaintenance()
	o.Dialer = dialer(o.DialTimeout, o.TLSConfig)
	return redis.NewClusterClient(o), nil
}

func openSentinel(u string) (redis.UniversalClient, error) {
	o, err := redis.ParseFailoverURL(u)
	if err != nil {
		return nil, errURL
	}
	if o.MasterName == "" {
		return nil, errors.New("sallyport: the URL of a Redis Sentinel has a master_name")
	}
	if o.ReplicaOnly || o.RouteByLatency || o.RouteRandomly {
		return nil, errors.New("sallyport: this Redis client reads from replicas, which may be behind")
	}
	timeouts(&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.PoolTimeout)
	o.MaxRetries = or(o.MaxRetries, openRetries)
	o.DialerRetries = or(o.DialerRetries, 1)
	o.ContextTimeoutEnabled = true
	o.Dialer = dialer(o.DialTimeout, o.TLSConfig)
	return redis.NewFailoverClient(o), nil
}

// noMaintenance turns off the announcements of a managed Redis: they cost a round trip for each connection, and what they
// announce is met with a retry.
func noMaintenance() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

func or(value, otherwise int) int {
	if value == 0 {
		return otherwise
	}
	return value
}

func timeouts(settings ...*time.Duration) {
	for _, d := range settings {
		if *d == 0 {
			*d = openTimeout
		}
	}
}

// dialer is that of go-redis, but for the text of its errors.
func dialer(timeout time.Duration, config *tls.Config) func(context.Context, string, string) (net.Conn, error) {
	dial := redis.NewDialer(&redis.Options{DialTimeout: timeout, TLSConfig: config})
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, &dialError{err}
		}
		return conn, nil
	}
}
