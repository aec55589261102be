package session

import (
	"testing"
	"time"
)

func TestExpiring(t *testing.T) {
	now := time.Unix(1000, 0)
	at := func(s int) time.Time { return time.Unix(int64(1000+s), 0) }
	e := newExpiring[string, int](3)
	if added, full := e.add("a", 1, now, at(10)); !added || full {
		t.Fatal("not added")
	}
	if added, full := e.add("a", 2, now, at(10)); added || full {
		t.Fatal("added twice")
	}
	if v, ok := e.get("a", at(9)); !ok || v != 1 {
		t.Fatal("not there")
	}
	if _, ok := e.get("a", at(10)); ok {
		t.Fatal("there after its end")
	}
	if _, ok := e.get("b", now); ok {
		t.Fatal("never added")
	}
	e.add("b", 2, now, at(20))
	e.add("c", 3, now, at(5))
	if added, full := e.add("d", 4, now, at(30)); added || !full {
		t.Fatal("more than there is room for")
	}
	if added, _ := e.add("d", 4, at(5), at(30)); !added || len(e.items) != 3 {
		t.Fatal("no room where one had ended")
	}
	// update makes room: what ends first goes.
	e.update("e", at(5), func(int, time.Time) (int, time.Time) { return 5, at(40) })
	if _, ok := e.get("a", at(5)); ok || len(e.items) != 3 {
		t.Fatal("the wrong one went")
	}
	e.update("b", at(5), func(old int, _ time.Time) (int, time.Time) { return old + 1, at(50) })
	if v, ok := e.get("b", at(45)); !ok || v != 3 {
		t.Fatal("not updated")
	}
	e.update("none", at(5), func(old int, _ time.Time) (int, time.Time) { return old, time.Time{} })
	if _, ok := e.items["none"]; ok {
		t.Fatal("kept what has ended")
	}
	e.update("b", at(45), func(old int, d time.Time) (int, time.Time) { return old, d })
	if len(e.items) != 1 || len(e.order) != 1 {
		t.Fatalf("%d items, %d deadlines", len(e.items), len(e.order))
	}
}
