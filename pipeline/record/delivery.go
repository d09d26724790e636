package record

// Delivery is one webhook that was accepted: its signature was good, and it is to be worked on.
type Delivery struct {
	Org   UUID
	ID    string // the notification's own id, or a digest of its content where it has none; never ""
	Topic string
	// Objects are what it is about, to be read anew. Empty: nothing can be read off it, and Problem says why.
	Objects []ObjectKey
	// Gone says that it tells of a deletion, which Intercom may carry out after it has told.
	Gone    bool
	Problem string
	Body    []byte // as received
}

// ObjectKey names an Intercom object.
type ObjectKey struct {
	Kind Kind
	ID   string
}

// Delivered says that the deliveries which named an object are done with. It travels as pipeline.File.Meta to the transaction that loads,
// or rejects, that object.
type Delivered struct {
	Key        ObjectKey
	Deliveries []int64 // as the inbox numbers them
}
