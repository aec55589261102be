package storetest_test

import (
	"testing"

	"github.com/sallyport/sallyport/session"
	"github.com/sallyport/sallyport/session/storetest"
)

// MyStore stands for a store of yours.
type MyStore struct{ *session.Memory }

func Example() {
	// In your package's tests:
	TestMyStore := func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) session.Store {
			s := MyStore{session.NewMemory(session.MemoryOptions{})} // connect here, and disconnect in t.Cleanup
			return s
		})
	}
	_ = TestMyStore
}
