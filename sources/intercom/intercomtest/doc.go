// Package intercomtest is a simulated Intercom workspace behind the REST API, for
// testing whatever reads Intercom: an extractor, a sync, a migration. It needs no
// account, no network and no fixtures, holds as many conversations as you ask for,
// misbehaves on demand, and knows what a correct reader must have found at the end.
//
//	func TestMyExport(t *testing.T) {
//		sim := intercomtest.Start(t, intercomtest.Options{Seed: 1, Conversations: 500, RateLimit: 10_000})
//		rows := export(sim.URL, sim.Token)           // the code under test
//		for c := range sim.Ledger().Conversations() { // the truth
//			compare(rows[c.ID], c)
//		}
//	}
//
// The same as a program is cmd/intercomsim.
//
// # What it holds
//
// Contacts (users and leads, with shared and hand-typed e-mail addresses, missing
// ids and names, several companies), companies, conversations (dialogues of
// customers, teammates and bots in HTML, notes, assignments, snoozes, closes with a
// last word, ratings, tags, attachments with URLs that run out, quoted replies,
// redactions, some with more than 500 parts) and tickets of all categories, some of
// which are conversations as well. Every object is computed from the seed and its
// index whenever it is asked for: a million conversations take no time to start and
// no memory but eight bytes each, once something is sorted by updated_at. Equal
// Options give equal workspaces, in this and in any other process.
//
// A few objects in a thousand (Options.Oddities) are peculiar in one of the ways in
// which the API is known to be: ids as numbers, assignee 0 or null, unknown part
// types, states and fields, null lists, empty bodies, control characters, broken
// UTF-8, huge texts.
//
// Options.Dialogs puts real dialogues (see ReadDialogs) in the place of the
// generated ones.
//
// # How truthful it is
//
// Replies are checked against Intercom's own OpenAPI description (the test names
// every deliberate difference). The behaviour follows its text and what other
// extractors have reported:
//
//   - Token, Accept and Intercom-Version are checked, in the order 401, 429, 400, 406.
//     Versions 2.0 to 2.17 and Preview are told apart where shapes and rules changed:
//     ticket states and assignees, priority, owner ids, conversation.company,
//     channel, deleted conversations, merge history, 410 for merged contacts, dates
//     in contact search. Versions 1.x answer intercom_version_invalid, since none of
//     these endpoints is theirs.
//   - Lists and searches page by cursors that hold a place in the order, so that a row
//     which changes meanwhile moves. Up to 2.16 contact search compares dates by whole
//     days of the workspace's time zone and knows no >=, <= and != for them.
//   - Rows of conversation lists have no parts; a conversation shows its newest 500.
//   - Inline lists of a contact end at 10.
//   - One company scroll may be open at a time. It expires after a minute without use,
//     a page that was sent is gone whether or not it arrived, and an error ends it.
//   - POST /companies/list wants a write scope, omits companies without people and
//     ends at 10,000.
//   - Tickets that are conversations are hidden from a token that may not read tickets.
//   - The budget of requests is spread over windows of 10 seconds, reported in the
//     X-RateLimit headers of authenticated replies, and may be shared with another app.
//   - Requests that would change the workspace are refused and remembered in
//     Stats.Violations.
//
// Where Intercom leaves something open there is an option: ListOrder,
// InclusiveBounds, SilentRedaction, ScopeStatus and ScopeCode, SearchDelay,
// MidnightBlind.
//
// # What can go wrong
//
// Options.Faults, SetFaults and PUT /_sim/faults break replies: 429 with and without
// headers, server errors, HTML, resets, stalls, slow, truncated, empty and
// mislabelled bodies, revoked tokens and lost scopes, repeated and stale cursors,
// empty pages, duplicates, rows that move or vanish while they are paged, clock skew,
// failing and occupied scrolls. See Fault for when they strike.
//
// # Changes
//
// The methods Reply, Note, Close, Redact, CreateConversation, CreateContact,
// CreateCompany, UpdateContact, UpdateCompany, Set, MergeContacts, SetTicketState,
// Delete, Touch, TouchRandom and DeleteRandom change the workspace between runs or
// during one. A change is dated by Options.Now, but never before the object's last
// one. Changes lie over the generated objects; what nobody touched still costs
// nothing.
//
// # Webhooks
//
// After SendWebhooks every change is told of by a signed notification, with the shape and
// the topics of the real ones: items in plain text, conversations with their newest part
// only, identifying fields alone after a deletion. Deliver sends what is waiting, in
// order or shuffled, with duplicates or losses. A change to a ticket that is also a
// conversation is told of once, by the topic of the one that was changed.
//
// # Files
//
// With Options.Files the addresses of attachments, of images in texts and of files
// in ticket attributes lead to the workspace itself, below /i/o/. They are signed and
// run out after Options.FileLife; a file's content follows from its address.
// Ledger.Files lists them with their SHA-256. Whoever sends the token, a cookie or a
// Referer there is found in Stats.Violations.
//
// # Control over HTTP
//
// For tests in other processes the paths under /_sim/ answer without a token, to
// this machine only:
//
//	GET, DELETE       /_sim/stats     requests by endpoint and window, 429s, bytes, violations (Stats)
//	GET               /_sim/ledger    what the workspace holds, as JSON lines; ?kind= one kind only
//	GET, PUT, DELETE  /_sim/faults    the faults, as a JSON list of Fault or in the form of ParseFaults
//	POST              /_sim/change    one or more Change objects; gives the ids concerned
//
// # The ledger
//
// Ledger tells what a reader must have found: every living object with its version,
// every message with its author, time, type and text (plain and as a hash, see
// HashText), how many parts the API withholds, and what was deleted or merged. It is
// made from the state of the generator and shares no code with the JSON encoding.
package intercomtest
