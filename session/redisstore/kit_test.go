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
	storetest.Run(t, func(t *testing.T) session.Store { return open(t, cluster.URL()) })
}
