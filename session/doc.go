// Package session keeps who is logged in: sealed records in cookies, pending logins, deadlines, and refresh.
//
// Most applications need New and package middleware, which calls everything else here:
//
//	s, err := session.New(session.Config{Keys: keys})
//	auth, err := middleware.New(s, c)
//
// A handler gets a *Session and asks it: Subject, Claims, HasScope, Token.
//
// # Keys
//
// A ring of random keys, newest first: the first seals, all open, and a session opened with an older one is sealed
// with the first when it is next written. Sealing is XAES-256-GCM behind gorilla/securecookie's Codec
// interface, with a key of its own for each purpose; a value is bound to its purpose, its
// cookie's name and the application's origin.
//
// # What a cookie cannot do
//
// A cookie is the user's: a copy of it is as good as the original until its deadlines, which are inside. What ends
// before, by logout here or at the server, by a new login in the same browser, or with its grant, is remembered in
// this process's memory. So is a refresh, until the browser is known to have the new tokens, and
// the logins that were used up. All of that is bounded, and ends with the process.
package session
