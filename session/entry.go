package session

import (
	"encoding/binary"
	"time"

	"github.com/sallyport/sallyport/client"
)

// entry is the one record that a store has of a session. With sessions in the store it holds the session
// itself; with sessions in cookies, what has happened since a cookie was written: it is absent until then.
//
// A refresh of token generation n moves it from "n" over "n, leased and sent" to "n+1"; a failure back to "n", with what
// is known about it. An end is a tombstone: nothing but the reason, kept until no cookie of the session can be used any more.
// All moves are compare-and-swap, so the store's version is the fence: who has been overtaken finds another one.
type entry struct {
	ended string // why; empty while the session lives
	// due is that the session was ended by somebody who did not have its tokens: who has them gives them back.
	due    bool
	keep   int64 // an ended one is kept until then, seconds since 1970
	lease  lease
	failed failure
	// rec is the session; with sessions in cookies, only its tokens, and those only if they are newer than
	// what the login brought: a hand-off to whoever comes with older ones.
	rec record
}

// lease says that somebody has sent, or is about to send, the refresh token of a generation: it is the intent, too. There
// is no clock in it. It is held for as long as its beat changes: who has watched it stand still for leaseTime takes over.
type lease struct {
	tokenGeneration uint64 // 0: nobody
	holder          [16]byte
	beat            uint64
}

func (l lease) held(tokenGeneration uint64) bool {
	return l.tokenGeneration != 0 && l.tokenGeneration == tokenGeneration
}

// ahead is the newest token generation of which the entry tells. With sessions in cookies it may have a lease or a failure of tokens that
// it has not: those of a result that reached a browser and not the store.
func (e *entry) ahead() uint64 {
	return max(e.rec.tokenGeneration, e.lease.tokenGeneration, e.failed.tokenGeneration)
}

// failure is what is known about the refreshes of one token generation that brought no tokens.
type failure struct {
	tokenGeneration uint64
	spent           uint64 // how often the refresh token was sent without a usable answer, a call that is under way counted
	count           uint64 // failures in a row
	sentAt          int64  // the first time, milliseconds since 1970
	until           int64  // not again before, milliseconds since 1970
	code, reason    string // of the last one
	outcome         client.Outcome
}

// of returns what is known about a generation.
func (f failure) of(tokenGeneration uint64) failure {
	if f.tokenGeneration != tokenGeneration {
		return failure{tokenGeneration: tokenGeneration}
	}
	return f
}

// err is the last failure as an error.
func (f failure) err() *client.Error {
	if f.code == "" { // whoever sent it did not live to tell
		return client.NewError(client.ErrRefreshInDoubt, "interrupted", nil)
	}
	e := client.NewError(client.Code(f.code), f.reason, nil)
	e.Outcome = f.outcome
	return e
}

const (
	entryVersion = 1
	// The flags after it.
	entryEnded  = 1
	entryDue    = 2
	entryLease  = 4
	entryFailed = 8
	entryRecord = 16
)

// flags says what there is of it.
func (e *entry) flags() (flags byte) {
	for _, f := range [...]struct {
		set bool
		bit byte
	}{
		{e.ended != "", entryEnded}, {e.due, entryDue}, {e.lease.tokenGeneration != 0, entryLease},
		{e.failed.tokenGeneration != 0, entryFailed}, {e.rec.tokenGeneration != 0, entryRecord},
	} {
		if f.set {
			flags |= f.bit
		}
	}
	return flags
}

// AppendBinary writes the entry.
func (e *entry) AppendBinary(b []byte) ([]byte, error) {
	flags := e.flags()
	b = append(b, entryVersion, flags)
	if flags&entryEnded != 0 {
		b = binary.AppendUvarint(appendString(b, e.ended), uint64(e.keep))
	}
	if l := &e.lease; flags&entryLease != 0 {
		b = binary.AppendUvarint(b, l.tokenGeneration)
		b = binary.AppendUvarint(append(b, l.holder[:]...), l.beat)
	}
	if f := &e.failed; flags&entryFailed != 0 {
		for _, n := range [...]uint64{f.tokenGeneration, f.spent, f.count, uint64(f.sentAt), uint64(f.until), uint64(f.outcome)} {
			b = binary.AppendUvarint(b, n)
		}
		b = appendString(appendString(b, f.code), f.reason)
	}
	if flags&entryRecord != 0 {
		return e.rec.AppendBinary(b)
	}
	return b, nil
}

// UnmarshalBinary reads what AppendBinary wrote and keeps none of b. It returns errRecord for anything else.
func (e *entry) UnmarshalBinary(b []byte) error {
	if len(b) < 2 || b[0] != entryVersion || b[1] >= 2*entryRecord {
		return errRecord
	}
	flags := b[1]
	*e = entry{due: flags&entryDue != 0}
	d := decoder{b: b[2:]}
	if flags&^entryRecord != 0 {
		d.text = make([]byte, 0, 256)
	}
	if flags&entryEnded != 0 {
		e.ended, e.keep = d.string(), d.int64()
	}
	if flags&entryLease != 0 {
		e.lease.tokenGeneration = d.uvarint()
		if len(d.b) < len(e.lease.holder) {
			return errRecord
		}
		d.b = d.b[copy(e.lease.holder[:], d.b):]
		e.lease.beat = d.uvarint()
	}
	if f := &e.failed; flags&entryFailed != 0 {
		f.tokenGeneration, f.spent, f.count = d.uvarint(), d.uvarint(), d.uvarint()
		f.sentAt, f.until = d.int64(), d.int64()
		f.outcome = client.Outcome(d.uvarint())
		f.code, f.reason = d.string(), d.string()
	}
	if d.failed {
		return errRecord
	}
	if flags&entryRecord != 0 {
		if err := e.rec.UnmarshalBinary(d.b); err != nil {
			return err
		}
	} else if len(d.b) != 0 {
		return errRecord
	}
	if e.flags() != flags {
		return errRecord
	}
	return nil
}

// deadline is until when a store must keep the entry. absolute is the session's; inStore is that the entry is the session.
func (e *entry) deadline(cfg *Config, now, absolute time.Time, inStore bool) time.Time {
	const slack = time.Minute // clocks differ; who comes late is told why
	switch {
	case e.ended != "":
		return time.Unix(e.keep, 0).Add(slack)
	case inStore:
		return earlier(absolute, e.rec.idleDeadline(cfg)).Add(slack)
	case e.lease.tokenGeneration != 0, e.failed.tokenGeneration != 0:
		return absolute.Add(slack)
	}
	// A hand-off is of use until the last cookie with older tokens has reached its idle deadline.
	return earlier(absolute, now.Add(cfg.IdleTimeout)).Add(slack)
}
