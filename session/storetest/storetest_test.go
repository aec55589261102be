package storetest_test

import (
	"testing"

	"github.com/sallyport/sallyport/session"
	"github.com/sallyport/sallyport/session/storetest"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) session.Store { return session.NewMemory(session.MemoryOptions{}) })
}

// A Faulty without faults keeps the contract, as do several in front of one store, also when it forgets or does
// not answer.
func TestFaulty(t *testing.T) {
	t.Parallel()
	base := &storetest.Faulty{Store: session.NewMemory(session.MemoryOptions{}), AsShared: true}
	storetest.Config{
		Open:    func(*testing.T) session.Store { return &storetest.Faulty{Store: base} },
		Restart: func(*testing.T) { base.LoseLast(40) },
		Pause: func(*testing.T) func() {
			base.Inject(storetest.Always(storetest.Fault{Kind: storetest.Hang}))
			return func() { base.Inject(nil) }
		},
	}.Run(t)
}
