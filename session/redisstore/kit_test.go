package redisstore

import (
	"testing"

	"github.com/sallyport/sallyport/internal/backing"
	"github.com/sallyport/sallyport/session"
	"github.com/sallyport/sallyport/session/storetest"
)

func TestStoreContract(t *testing.T) {
	t.Parallel()
	server := backing.RedisForTest(t)
	storetest.Config{
		Open: func(t *testing.T) session.Store { return open(t, server.URL()) },
		Restart: func(t *testing.T) {
			if err := server.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := server.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		Pause: func(t *testing.T) func() {
			if err := server.Pause(); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := server.Resume(); err != nil {
					t.Error(err)
				}
			}
		},
	}.Run(t)
}

func TestStoreContractOnACluster(t *testing.T) {
	t.Parallel()
	cluster := backing.RedisClusterForTest(t)
	each := func(t *testing.T, do func(*backing.Redis) error) {
		for _, addr := range cluster.Addrs() {
			if err := do(cluster.Node(addr)); err != nil {
				t.Error(err)
			}
		}
	}
	storetest.Config{
		Open: func(t *testing.T) session.Store { return open(t, cluster.URL()) },
		Restart: func(t *testing.T) {
			each(t, (*backing.Redis).Kill)
			each(t, func(r *backing.Redis) error { return r.Restart(t.Context()) })
			if err := cluster.Settled(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		Pause: func(t *testing.T) func() {
			each(t, (*backing.Redis).Pause)
			return func() { each(t, (*backing.Redis).Resume) }
		},
	}.Run(t)
}
