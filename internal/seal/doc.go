// Package seal keeps secrets in the hands of strangers: what it seals can be read, and made,
// only by who holds a key of the ring. Codec is the AEAD behind the interface of gorilla/securecookie,
// Sealer the one thing to use: it puts a deadline inside and takes any list of codecs.
package seal
