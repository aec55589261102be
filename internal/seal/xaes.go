package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"sync/atomic"
)

// Sizes of XAES-256-GCM: https://c2sp.org/XAES-256-GCM
const (
	keySize    = 32
	prefixSize = 12 // first half of the nonce: chooses the derived key
	nonceSize  = 24
	tagSize    = 16
)

// derivedSlots bounds the derived AEADs that one key keeps: one for each writing process
// whose cookies are around is enough. A power of two.
const derivedSlots = 512

// xaes is XAES-256-GCM under one key, with the derived keys in use kept at hand:
// deriving one costs as much as opening a session, and a process that seals
// stays with one prefix for many values.
type xaes struct {
	block cipher.Block
	k1    [aes.BlockSize]byte
	slots [derivedSlots]atomic.Pointer[derived]
}

// derived is AES-256-GCM under the key that belongs to one nonce prefix.
type derived struct {
	prefix [prefixSize]byte
	gcm    cipher.AEAD
}

// newXAES takes a key of exactly 32 bytes.
func newXAES(key []byte) (*xaes, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	x := &xaes{block: block}
	block.Encrypt(x.k1[:], x.k1[:])
	// NIST SP 800-38B §6.1: the subkey K1 is the encrypted zero block, doubled in GF(2^128).
	var carry byte
	for i := len(x.k1) - 1; i >= 0; i-- {
		next := x.k1[i] >> 7
		x.k1[i] = x.k1[i]<<1 | carry
		carry = next
	}
	x.k1[len(x.k1)-1] ^= byte(subtle.ConstantTimeSelect(int(carry), 0x87, 0))
	return x, nil
}

// derive makes the AEAD of a prefix (SP 800-108r1 counter-mode KDF over CMAC, two blocks).
func (x *xaes) derive(prefix [prefixSize]byte) (*derived, error) {
	var key [keySize]byte
	for i := range 2 {
		out := key[i*aes.BlockSize : (i+1)*aes.BlockSize]
		out[1], out[2] = byte(i+1), 'X' // counter, label
		copy(out[4:], prefix[:])
		subtle.XORBytes(out, out, x.k1[:])
		x.block.Encrypt(out, out)
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &derived{prefix: prefix, gcm: gcm}, nil
}

func (x *xaes) slot(prefix [prefixSize]byte) *atomic.Pointer[derived] {
	return &x.slots[(int(prefix[0])|int(prefix[1])<<8)%derivedSlots]
}

// open decrypts in place: dst must be ciphertext[:0] or not overlap it.
func (x *xaes) open(dst, nonce, ciphertext, aad []byte) ([]byte, error) {
	prefix := [prefixSize]byte(nonce)
	slot := x.slot(prefix)
	d := slot.Load()
	if d != nil && d.prefix == prefix {
		return d.gcm.Open(dst, nonce[prefixSize:], ciphertext, aad)
	}
	d, err := x.derive(prefix)
	if err != nil {
		return nil, err
	}
	out, err := d.gcm.Open(dst, nonce[prefixSize:], ciphertext, aad)
	if err == nil {
		// Only what one of our own processes sealed earns a slot: forgeries cannot push others out.
		slot.Store(d)
	}
	return out, err
}
