package session

import "encoding/binary"

// ticket is what a browser has of a session that lives in a store: which it is. It also says how far the session was when the
// browser was last told, so that a store which was set back is noticed, and when it was last used, so that one which was left alone
// is not taken for lost.
type ticket record

const ticketVersion = 1

// AppendBinary writes the ticket.
func (t *ticket) AppendBinary(b []byte) ([]byte, error) {
	b = append(append(b, ticketVersion), t.id[:]...)
	for _, n := range [...]uint64{t.generation, t.tokenGeneration, uint64(t.created), uint64(t.absolute), uint64(t.seen), uint64(t.idle)} {
		b = binary.AppendUvarint(b, n)
	}
	return b, nil
}

// UnmarshalBinary reads what AppendBinary wrote. It returns errRecord for anything else.
func (t *ticket) UnmarshalBinary(b []byte) error {
	if len(b) < 1+len(t.id) || b[0] != ticketVersion {
		return errRecord
	}
	d := decoder{b: b[1+len(t.id):]}
	*t = ticket{id: sessionID(b[1:])}
	t.generation, t.tokenGeneration = d.uvarint(), d.uvarint()
	t.created, t.absolute, t.seen, t.idle = d.int64(), d.int64(), d.int64(), d.int64()
	if d.failed || len(d.b) != 0 {
		return errRecord
	}
	return nil
}
