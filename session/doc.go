// Package session keeps who is logged in: sealed records in cookies or in a store, pending logins, deadlines, and refresh.
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
// # Where a session lives
//
// With neither Config.Store nor Config.Coordination the session is in the cookie. A cookie is the user's: a copy of it is as good as
// the original until its deadlines, which are inside. What ends before, by logout here or at the server, by a new login
// in the same browser, or with its grant, is remembered in this process's memory; so is a refresh, for as long as a cookie with
// the older tokens may come, and which logins were used up. All of that is bounded, and ends with the process.
//
// With Config.Coordination the session is in the cookie as well, and what is remembered is in a store: any number of processes
// serve the application. With Config.Store the session is in the store, and the cookie has a ticket. To move from one to the other logs
// everybody out.
//
// A store that does not answer makes ErrStore of every request, and ends nothing.
//
// # Refresh
//
// A refresh is one transaction on one record, by compare-and-swap: all requests of all processes that need it share one call to the
// server. A lease that is fenced and renewed says who makes it; what it brings is kept until it is stored; a session
// that has ended meanwhile stays ended. Events and Counters tell what was decided.
package session
