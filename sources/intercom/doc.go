// Package intercom reads an Intercom workspace: contacts, companies, conversations with their parts,
// tickets, and the small lists that name what those only number. It writes nothing: the only POSTs
// it knows are the searches, which Intercom has no GET for.
//
//	client, err := intercom.New("eu", token, intercom.Options{})
//	access, err := client.Check(ctx)                            // who is behind the token, what it lacks
//	source := intercom.NewConversations(client, intercom.StreamOptions{})
//	flow := pipeline.Via(pipeline.From(p, source, cursor), intercom.NewDetails(client, intercom.DetailOptions{}), 4)
//
// # Streams
//
// Every stream is a pipeline.Source of raw objects whose pages carry a cursor of this package's own
// making, never the bare cursor of Intercom, which may go stale. A cursor is a version byte and a JSON
// document; a stream whose cursor says "done" yields nothing.
//
//   - NewCompanies walks the company scroll. Only one scroll can be open in a workspace, it is gone after
//     a minute without a call and cannot be resumed, so it is drained into a temporary file first and
//     its pages are yielded from there. A resumed stream scrolls again from the top.
//   - NewContacts walks GET /contacts, or, with Since, POST /contacts/search.
//   - NewConversations and NewTickets walk windows of time through search, ordered by created_at, or,
//     with Since, by updated_at; see window.go. A resumed stream starts at the last second that was
//     committed and skips what had been committed of it.
//   - NewDeleted lists deleted conversations; NewConfirm asks of single objects whether they are there.
//
// Conversations come from search without parts, and inline lists of contacts are cut at ten: the stage
// NewDetails completes both, one request per conversation, and passes on what is complete already.
//
// # Files
//
// NewAttachments is a tap that saves the files which conversations and tickets name, before their links run out: by the
// hash of their content, without the token, and from Intercom's hosts only; attachment_host.go lists them.
//
// # Requests
//
// All requests of a Client go through one rate budget (budget.go), which follows the headers of the
// replies; one Client per token is therefore the rule. Errors are *Error with a Class that says what to
// do; see error.go. The token is in no error, log line or String of this package.
package intercom
