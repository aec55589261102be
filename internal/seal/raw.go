package seal

import (
	"encoding"
	"time"
)

// MaxRaw is the longest value that SealRaw makes and OpenRaw looks at.
const MaxRaw = 64 << 10

// SealRaw seals v under name until expires, for a place that takes any bytes: a third shorter than Seal's text, where
// the codec is ours. The error is as Seal's.
func (s *Sealer) SealRaw(name string, v encoding.BinaryAppender, expires time.Time) ([]byte, error) {
	if s.aead == nil {
		text, err := s.Seal(name, v, expires)
		return []byte(text), err
	}
	sc := borrow()
	defer sc.giveBack()
	b, err := s.appendTo(sc.begin(), v, expires)
	if err != nil {
		return nil, err
	}
	if len(b)+tagSize > MaxRaw {
		clear(b)
		return nil, &Error{Reason: Size}
	}
	d, err := s.aead.newest.current()
	if err != nil {
		return nil, err
	}
	out := make([]byte, headerSize, len(b)+tagSize)
	s.aead.header(out, d)
	sc.name = append(sc.name[:0], name...)
	out = d.gcm.Seal(out, out[2+prefixSize:headerSize], b[headerSize:], sc.name)
	if len(b) > len(sc.buf) { // it has outgrown the scratch, which is cleared when it is given back
		clear(b)
	}
	return out, nil
}

// OpenRaw opens what SealRaw made. It leaves value as it is. The error is as Open's.
func (s *Sealer) OpenRaw(now time.Time, name string, value []byte, v encoding.BinaryUnmarshaler) (Opened, error) {
	if s.aead == nil || len(value) > 0 && isText(value[0]) {
		return s.OpenAt(now, name, string(value), v)
	}
	if len(value) > MaxRaw {
		return Opened{}, &Error{Reason: Size}
	}
	if len(value) < overhead {
		return Opened{}, &Error{Reason: Auth, err: errFormat}
	}
	sc := borrow()
	defer sc.giveBack()
	b := sc.buf
	if len(value) > len(b) {
		b = make([]byte, len(value))
		defer clear(b)
	}
	b = b[:copy(b, value)]
	sc.used = min(len(b), len(sc.buf))
	plain, newest, err := s.aead.openBytes(sc, name, b)
	if err != nil {
		return Opened{}, err
	}
	return s.take(now, plain, !newest, v)
}

// isText reports whether a value that begins with c is the text of another codec: ours, raw, begins with its version.
func isText(c byte) bool { return c >= '-' }
