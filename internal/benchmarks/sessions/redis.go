package sessions

import (
	"context"
	"net/http"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/boj/redistore"
	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/benchmarks/measure"
	"github.com/sallyport/sallyport/session"
	"github.com/sallyport/sallyport/session/redisstore"
)

// Names of the kinds that keep something in a Redis.
const (
	RedisFloor        = "floor: GET + binary"
	RedisSallyport    = "sallyport, Store"
	RedisCoordination = "sallyport, cookie + Coordination"
	RedisSCS          = "scs + goredisstore"
	RedisGorilla      = "gorilla/sessions + redistore"
)

// InRedis are the kinds that use the Redis at addr. "sallyport, Store" keeps the session there; with Coordination it is in
// the cookie, and what is looked up in Redis is whether it was ended or refreshed since, which is not the case here.
func InRedis(addr string) []Kind {
	ours := func(cfg session.Config, place func(*session.Config, session.Store)) (*Setup, error) {
		store, err := redisstore.Open("redis://" + addr + "/0")
		if err != nil {
			return nil, err
		}
		place(&cfg, store)
		a, err := newApplication(cfg)
		if err != nil {
			return nil, err
		}
		s := &Setup{Handler: requireLogin(a.auth), Write: a.create}
		s.Cookie, err = a.cookie()
		return s, err
	}
	return []Kind{
		{Bare, bareKind().New},
		{RedisFloor, func() (*Setup, error) { return redisFloor(addr) }},
		{RedisSallyport, func() (*Setup, error) {
			return ours(session.Config{Keys: ringKeys[:1]}, func(c *session.Config, s session.Store) { c.Store = s })
		}},
		{RedisCoordination, func() (*Setup, error) {
			return ours(session.Config{Keys: ringKeys[:1]}, func(c *session.Config, s session.Store) { c.Coordination = s })
		}},
		{RedisSCS, func() (*Setup, error) {
			return scsSetup(goredisstore.New(redis.NewClient(&redis.Options{Addr: addr})))
		}},
		{RedisGorilla, func() (*Setup, error) {
			store, err := redistore.NewRediStore(workers, "tcp", addr, "", "", hashKey, blockKey)
			if err != nil {
				return nil, err
			}
			return gorillaSetup(store)
		}},
	}
}

// redisFloor is the least that a session in Redis can cost with this client: the id of the cookie, found by hand, one GET,
// length-prefixed fields. As the other floor it checks nothing, and what is in Redis is in the open.
func redisFloor(addr string) (*Setup, error) {
	const id, prefix = "k3Jx0S8tR2mQv7Zp9LwYc1aB5dE6fG4hI0jK2lM8nO0", "floor:"
	c := redis.NewClient(&redis.Options{Addr: addr})
	if err := c.Set(context.Background(), prefix+id, appendRecord(nil, NewRecord()), time.Hour).Err(); err != nil {
		return nil, err
	}
	return &Setup{
		Cookie: cookieName + "=" + id,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			v, ok := findCookie(r.Header["Cookie"][0], cookieName)
			if !ok {
				refuse(w)
				return
			}
			b, err := c.Get(r.Context(), prefix+v).Bytes()
			var s Record
			if err != nil || parseRecord(b, &s) != nil {
				refuse(w)
				return
			}
			s.answer(w)
		}),
	}, nil
}

// workers is how many requests are under way at a time: as many as it takes to keep client and server busy.
const workers = 16

// ReadConcurrently sends n requests that are logged in, several at a time.
func (s *Setup) ReadConcurrently(n int) error {
	return measure.Concurrently(workers, n, func(_, n int) error { return s.Read(n) })
}
