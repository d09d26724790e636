package record

// InlineBase is the number of a message's first inline file. Its attachments count from 0, so that the two never
// take each other's place.
const InlineBase = 1000

// ObjectAttachments is what became of the files that one object names. A run that saves files sends one for each
// conversation and ticket, as pipeline.File.Meta, to the transaction that loads the object; also for objects
// without any file, since what an object does not name any more is not wanted any more.
type ObjectAttachments struct {
	Kind     Kind
	SourceID string
	// Whole says that Files are all that the object names. Of a conversation with more than 500 parts Intercom gives
	// the newest only (fact sheet, section 2.1); what is known of the others stays.
	Whole bool
	Files []AttachmentFile // each (MessageID, N) once
}

// AttachmentFile is one file of an object: an attachment of a message, an image or file in its text, or a file in an
// attribute of a ticket.
type AttachmentFile struct {
	MessageID   string // as in the stored messages; "ticket_attributes.NAME" for an attribute
	N           int    // its place in the message's list of attachments; from InlineBase on, in its text
	URL         string // without its signed query
	Name        string
	ContentType string
	Size        int64 // bytes, as Intercom states them; 0 if it does not

	Path   string // below the folder of attachments, with slashes; "" if it is not saved
	Bytes  int64  // of the saved file
	SHA256 string // of the saved file, hexadecimal
	// Error says why it is not saved; of a saved file, what is odd about it.
	Error  string
	Reason string // one word for Error, see below; "" if there is none
	Retry  bool   // it is not saved, and trying again may help
	Held   bool   // it was in the folder already, and its content has been checked
}

// Reasons of an AttachmentFile, by which counts are kept.
const (
	AttachmentNoAddress   = "no-address"   // Intercom names none, or none that can be requested
	AttachmentForeign     = "foreign-host" // it lies, or leads, outside of Intercom
	AttachmentTooLarge    = "too-large"
	AttachmentRefused     = "refused"     // 403, 404 and the like, also with a fresh link
	AttachmentUnavailable = "unavailable" // failing server, failing network, too slow
	AttachmentOddSize     = "odd-size"    // saved, but not of the size that Intercom states
)
