package backchannel

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"
)

// The frames, flags, settings and errors of RFC 9113 that the tests use.
const (
	frameData, frameHeaders, frameReset, frameSettings          = 0x0, 0x1, 0x3, 0x4
	framePing, frameGoAway, frameWindow, frameContinuation      = 0x6, 0x7, 0x8, 0x9
	flagEndStream, flagAck, flagEndHeaders                 byte = 0x1, 0x1, 0x4

	settingPush, settingWindow, settingHeaderList = 0x2, 0x4, 0x6

	h2NoError, h2Protocol, h2Internal, h2Refused, h2Cancel, h2Calm = 0x0, 0x1, 0x2, 0x7, 0x8, 0xb

	h2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
)

type frame struct {
	kind    byte
	flags   byte
	stream  uint32
	payload []byte
}

// h2peer is the server's side of an HTTP/2 connection, frame by frame.
type h2peer struct{ net.Conn }

func (p *h2peer) read() (f frame, err error) {
	var head [9]byte
	if _, err := io.ReadFull(p, head[:]); err != nil {
		return f, err
	}
	f.kind, f.flags, f.stream = head[3], head[4], binary.BigEndian.Uint32(head[5:])
	f.payload = make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
	_, err = io.ReadFull(p, f.payload)
	return f, err
}

func (p *h2peer) write(kind, flags byte, stream uint32, payload []byte) error {
	n := len(payload)
	b := []byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags}
	_, err := p.Write(append(binary.BigEndian.AppendUint32(b, stream), payload...))
	return err
}

func be32(values ...uint32) (b []byte) {
	for _, v := range values {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

func (p *h2peer) settings(id uint16, v uint32) error {
	return p.write(frameSettings, 0, 0, append(binary.BigEndian.AppendUint16(nil, id), be32(v)...))
}

// request reads frames until a whole request is there.
func (p *h2peer) request() (stream uint32, err error) {
	for {
		f, err := p.read()
		if err != nil {
			return 0, err
		}
		switch f.kind {
		case frameSettings:
			if f.flags&flagAck == 0 {
				if err := p.write(frameSettings, flagAck, 0, nil); err != nil {
					return 0, err
				}
			}
		case frameHeaders, frameData:
			if f.flags&flagEndStream != 0 {
				return f.stream, nil
			}
		}
	}
}

func headerBlock(fields ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return b.Bytes()
}

func (p *h2peer) head(stream uint32, end byte, fields ...string) {
	_ = p.write(frameHeaders, flagEndHeaders|end, stream, headerBlock(fields...))
}

func (p *h2peer) answer(stream uint32, body string) {
	p.head(stream, 0, ":status", "200")
	_ = p.write(frameData, flagEndStream, stream, []byte(body))
}

// drain reads until the client hangs up.
func (p *h2peer) drain() { _, _ = io.Copy(io.Discard, p) }

// listenH2 is a raw HTTP/2 server; serve gets each connection after the preface,
// with its number from 1.
func listenH2(t testing.TB, serve func(n int, p *h2peer)) (url string, c *Client, conns *atomic.Int32) {
	t.Helper()
	cert, pool := certificate(t, time.Now().Add(time.Hour), "127.0.0.1")
	cfg := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}}
	url, conns = listen(t, func(n int, p *peer) {
		h2 := &h2peer{tls.Server(p.Conn, cfg)}
		preface := make([]byte, len(h2Preface))
		if _, err := io.ReadFull(h2, preface); err != nil || string(preface) != h2Preface {
			t.Errorf("no HTTP/2 preface: %q, %v", preface, err)
			return
		}
		_ = h2.write(frameSettings, 0, 0, nil)
		serve(n, h2)
	})
	c = loopback(t, Config{RootCAs: pool})
	return strings.Replace(url, "http", "https", 1), c, conns
}
