package session

import (
	"context"
	"testing"
	"time"
)

func benchMemory(b *testing.B, n int) (*Memory, []string) {
	m := NewMemory(MemoryOptions{Limit: 1 << 30})
	keys := make([]string, n)
	for i := range keys {
		keys[i] = memoryKey(i)
		memorySwap(b, m, keys[i], 0, string(make([]byte, 2000)), time.Hour)
	}
	b.ReportAllocs()
	return m, keys
}

func BenchmarkMemoryGet(b *testing.B) {
	m, keys := benchMemory(b, 100_000)
	b.Run("missing", func(b *testing.B) {
		b.ReportAllocs()
		key := []byte("s-missing-0123456789abcdef0123456789abcdef01")
		for b.Loop() {
			m.get(key)
		}
	})
	b.Run("hit", func(b *testing.B) {
		b.ReportAllocs()
		key := []byte(keys[42])
		for b.Loop() {
			m.get(key)
		}
	})
	b.Run("copy", func(b *testing.B) {
		b.ReportAllocs()
		ctx := context.Background()
		for b.Loop() {
			m.Get(ctx, keys[42])
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			key := []byte(keys[42])
			for pb.Next() {
				m.get(key)
			}
		})
	})
}

// BenchmarkMemorySwap replaces 2 kB records of many keys.
func BenchmarkMemorySwap(b *testing.B) {
	m, keys := benchMemory(b, 100_000)
	ctx, value := context.Background(), make([]byte, 2000)
	i := 0
	for b.Loop() {
		key := keys[i%len(keys)]
		_, version, _ := m.get([]byte(key))
		if _, err := m.Swap(ctx, key, version, value, time.Hour); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// BenchmarkMemoryEvict writes into a store that is full.
func BenchmarkMemoryEvict(b *testing.B) {
	m := NewMemory(MemoryOptions{Limit: 64 << 20, OnEvict: func(string, []byte) {}})
	ctx, value := context.Background(), make([]byte, 2000)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, err := m.Swap(ctx, memoryKey(i), 0, value, time.Hour); err != nil {
			b.Fatal(err)
		}
		i++
	}
}
