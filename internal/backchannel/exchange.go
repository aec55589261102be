package backchannel

import (
	"errors"
	"io"
	"net/http"
	"strings"
)

// exchanger makes one attempt: it sends the request and reads the whole answer.
// It sits below net/http's client, which therefore never sees a redirect, and
// below the retry loop, which therefore judges whole answers.
type exchanger struct {
	client *Client
}

func (x exchanger) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	call := callFrom(ctx)
	call.begin()
	if err := ctx.Err(); err != nil {
		return nil, contextError(err, false)
	}
	resp, err := x.client.base.RoundTrip(req)
	if err != nil || resp == nil {
		return nil, x.client.failure(ctx, call, err)
	}
	if resp.Body == nil {
		resp.Body = http.NoBody
	}
	defer resp.Body.Close() // of an answer not read to its end: closes the connection

	// An answer that we cannot use still is one. It leaves a grant in doubt if
	// it says that the grant was accepted.
	refuse := func(kind Kind) (*http.Response, error) {
		return nil, &Error{Kind: kind, Status: resp.StatusCode, InDoubt: resp.StatusCode/100 == 2}
	}
	switch {
	case resp.StatusCode < 200: // 101: the connection would be ours, and never end
		return nil, &Error{Kind: KindTransport, Status: resp.StatusCode, InDoubt: true}
	case resp.StatusCode/100 == 3: // RFC 9700 §4.12
		return refuse(KindRedirect)
	case encoded(resp.Header):
		return refuse(KindEncoding)
	case resp.ContentLength > call.maxBody:
		return refuse(KindTooLarge)
	}
	data, err := readAll(resp.Body, resp.ContentLength, call.maxBody)
	if errors.Is(err, errTooLarge) {
		return refuse(KindTooLarge)
	}
	if err != nil {
		e := x.client.failure(ctx, call, err)
		e.Status, e.InDoubt = resp.StatusCode, true
		return nil, e
	}

	whole := *resp
	whole.Body = &memory{data: data}
	whole.ContentLength = int64(len(data))
	whole.Request = nil
	return &whole, nil
}

// encoded reports whether the body is compressed. We ask for identity, so a
// server that answers with anything else does not honour RFC 9110 §12.5.3, and
// decoding is how ten kilobytes become ten gigabytes.
func encoded(h http.Header) bool {
	for _, v := range h["Content-Encoding"] {
		for coding := range strings.SplitSeq(v, ",") {
			coding = strings.TrimSpace(coding)
			if coding != "" && !strings.EqualFold(coding, "identity") {
				return true
			}
		}
	}
	return false
}

var errTooLarge = errors.New("backchannel: body larger than allowed")

// maxHint bounds what is allocated because a Content-Length says so.
const maxHint = 64 << 10

// readAll reads r to its end. hint is the length to expect, or less than zero.
// It fails with errTooLarge after limit bytes, and with the reader's own error
// if the body was cut short.
func readAll(r io.Reader, hint, limit int64) ([]byte, error) {
	if hint < 0 {
		hint = 1024
	}
	// One byte more than expected lets the read that fills the body also be
	// the one that meets its end.
	data := make([]byte, 0, min(hint, limit, maxHint)+1)
	for {
		n, err := r.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if int64(len(data)) > limit {
			return nil, errTooLarge
		}
		if err == io.EOF {
			return data, nil
		}
		if err != nil {
			return nil, err
		}
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
	}
}

// memory is a body that has been read.
type memory struct {
	data []byte
	at   int
}

func (m *memory) Read(p []byte) (int, error) {
	if m.at == len(m.data) {
		return 0, io.EOF
	}
	n := copy(p, m.data[m.at:])
	m.at += n
	return n, nil
}

func (m *memory) Close() error { return nil }
