package redisstore

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/backing"
)

// Open touches no network, so what it makes of a URL can be looked at.
func TestOpenOneServer(t *testing.T) {
	for url, want := range map[string]redis.Options{
		"redis://redis.example":                      {Addr: "redis.example:6379", Network: "tcp"},
		"redis://u:p@redis.example:7000/3":           {Addr: "redis.example:7000", Network: "tcp", DB: 3, Username: "u", Password: "p"},
		"rediss://redis.example:7000?pool_size=7":    {Addr: "redis.example:7000", Network: "tcp", PoolSize: 7},
		"unix://u:p@/run/redis.sock?db=2&prefix=a%3": {}, // not a query
		"unix://u:p@/run/redis.sock?db=2&prefix=a:":  {Addr: "/run/redis.sock", Network: "unix", DB: 2, Username: "u", Password: "p"},
	} {
		s, err := Open(url)
		if want.Addr == "" {
			if err == nil {
				t.Errorf("%s: no error", url)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		o := s.client.(*redis.Client).Options()
		if o.Addr != want.Addr || o.Network != want.Network || o.DB != want.DB || o.Username != want.Username || o.Password != want.Password {
			t.Errorf("%s: %+v", url, o)
		}
		if want.PoolSize != 0 && o.PoolSize != want.PoolSize {
			t.Errorf("%s: pool of %d", url, o.PoolSize)
		}
		if o.DialTimeout != time.Second || o.ReadTimeout != time.Second || o.WriteTimeout != time.Second || o.PoolTimeout != time.Second ||
			o.MaxRetries != 1 || o.DialerRetries != 1 || !o.ContextTimeoutEnabled {
			t.Errorf("%s: timeouts and retries %+v", url, o)
		}
		if (o.TLSConfig != nil) != strings.HasPrefix(url, "rediss:") || o.TLSConfig != nil && o.TLSConfig.ServerName != "redis.example" {
			t.Errorf("%s: TLS %v", url, o.TLSConfig)
		}
		if strings.Contains(url, "prefix") != (s.prefix == "a:") {
			t.Errorf("%s: prefix %q", url, s.prefix)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	s := open(t, "redis://redis.example?read_timeout=5s&max_retries=-1&dial_timeout=200ms")
	if o := s.client.(*redis.Client).Options(); o.ReadTimeout != 5*time.Second || o.MaxRetries != 0 || o.DialTimeout != 200*time.Millisecond {
		t.Errorf("the URL's settings: %+v", o)
	}
}

func TestOpenCluster(t *testing.T) {
	s := open(t, "rediss+cluster://u:p@a.example:7000?addr=b.example:7001&addr=c.example:7002&prefix=x")
	o := s.client.(*redis.ClusterClient).Options()
	if strings.Join(o.Addrs, " ") != "a.example:7000 b.example:7001 c.example:7002" || o.Username != "u" || o.Password != "p" || o.TLSConfig == nil {
		t.Errorf("%+v", o)
	}
	if o.DialTimeout != time.Second || o.ReadTimeout != time.Second || o.WriteTimeout != time.Second || o.PoolTimeout != time.Second ||
		o.MaxRedirects != 2 || o.DialerRetries != 1 || !o.ContextTimeoutEnabled {
		t.Errorf("timeouts and retries %+v", o)
	}
	if s.prefix != "x" || s.reload == nil {
		t.Errorf("prefix %q", s.prefix)
	}
}

func TestOpenSentinel(t *testing.T) {
	s := open(t, "redis+sentinel://su:sp@a.example:26379/4?addr=b.example:26379&master_name=m&username=u&password=p")
	o := s.client.(*redis.Client).Options()
	if o.DB != 4 || o.Username != "u" || o.Password != "p" || o.TLSConfig != nil {
		t.Errorf("%+v", o)
	}
	if o.DialTimeout != time.Second || o.ReadTimeout != time.Second || o.WriteTimeout != time.Second || o.PoolTimeout != time.Second ||
		o.MaxRetries != 1 || o.DialerRetries != 1 || !o.ContextTimeoutEnabled {
		t.Errorf("timeouts and retries %+v", o)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, url := range []string{
		"", "redis.example:6379", "http://secret@redis.example", "redis+other://redis.example", "redis+cluster+x://redis.example",
		"unix+cluster:///run/secret", "unix+sentinel:///run/secret", "unix://", "redis://secret:secret@redis.example/x",
		"redis://redis.example?secret=1", "redis://redis.example:secret", "redis://redis.example?read_timeout=secret",
		"redis://redis.example?prefix={secret}", "redis://redis.example?read_timeout=0", "redis://redis.example?read_timeout=-1",
		"redis+cluster://redis.example?addr=secret", "redis+cluster://redis.example?read_timeout=-1",
		"redis+cluster://redis.example?read_only=true", "redis+cluster://redis.example?route_by_latency=true",
		"redis+cluster://redis.example?route_randomly=true", "redis+sentinel://redis.example", "redis+sentinel://redis.example?master_name=m&secret=1",
		"redis+sentinel://redis.example?master_name=m&replica_only=true", "redis+sentinel://redis.example?master_name=m&route_by_latency=true",
		"redis+sentinel://redis.example?master_name=m&route_randomly=true",
	} {
		s, err := Open(url)
		if err == nil {
			_ = s.Close()
			t.Errorf("%s: no error", url)
			continue
		}
		if !strings.HasPrefix(err.Error(), "sallyport: ") || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "example") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// What a client would serve from elsewhere than the master is not current.
func TestNewRefuses(t *testing.T) {
	o := redis.Options{Addr: "redis.example:6379"}
	waiting, caching := o, o
	waiting.ReadTimeout = -1
	caching.ClientSideCacheConfig = &redis.ClientSideCacheConfig{}
	for name, client := range map[string]redis.UniversalClient{
		"nil":        nil,
		"ring":       redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "redis.example:6379"}}),
		"replicas":   redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"redis.example:6379"}, ReadOnly: true}),
		"by latency": redis.NewUniversalClient(&redis.UniversalOptions{Addrs: []string{"a:1", "b:1"}, RouteByLatency: true}),
		"failover": redis.NewFailoverClusterClient(&redis.FailoverOptions{
			MasterName: "m", SentinelAddrs: []string{"redis.example:26379"}, RouteRandomly: true,
		}),
		"no timeout":          redis.NewClient(&waiting),
		"cache":               redis.NewClient(&caching),
		"cluster, no timeout": redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"redis.example:6379"}, ReadTimeout: -1}),
	} {
		if _, err := New(client, Options{}); err == nil || !strings.HasPrefix(err.Error(), "sallyport: ") {
			t.Errorf("%s: %v", name, err)
		}
		if client != nil {
			_ = client.Close()
		}
	}
	good := redis.NewClient(&o)
	defer good.Close()
	for _, prefix := range []string{"{", "a}b"} {
		if _, err := New(good, Options{Prefix: prefix}); err == nil {
			t.Errorf("prefix %q", prefix)
		}
	}
	s, err := New(good, Options{})
	if err != nil || s.prefix != DefaultPrefix {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil || s.owned {
		t.Error("the caller's client was closed")
	}
}

// An interface that is not go-redis's own is taken as it is.
func TestNewTakesAWrapper(t *testing.T) {
	server := backing.RedisForTest(t)
	type wrapper struct{ redis.UniversalClient }
	s, err := New(wrapper{plain(t, server.Addr())}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	mustGet(t, s, "k", "value", mustSwap(t, s, "k", 0, "value"))
}

func TestUnixSocketAndPassword(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	server := backing.RedisForTest(t, "unixsocket "+socket, "requirepass p%a")
	s := open(t, "unix://:p%25a@"+socket+"?db=3")
	mustGet(t, s, "k", "value", mustSwap(t, s, "k", 0, "value"))
	for _, url := range []string{server.URL(), "redis://:wrong@" + server.Addr()} {
		_, _, err := open(t, url).Get(t.Context(), "k")
		unavailable(t, url, err)
		if err != nil && !strings.Contains(err.Error(), "password") {
			t.Error(err)
		}
	}
}
