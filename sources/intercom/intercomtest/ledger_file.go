package intercomtest

import (
	"encoding/json"
	"iter"
	"strings"
)

// LedgerFile is a file that a living conversation or ticket names, of a workspace that serves files (Options.Files).
type LedgerFile struct {
	Kind     Kind   `json:"kind"` // conversations or tickets
	ObjectID string `json:"object_id"`
	// MessageID is the part's or the source's id; of a file in an attribute of a ticket it is empty.
	MessageID string `json:"message_id,omitempty"`
	Attribute string `json:"attribute,omitempty"`
	// N is its place among the message's attachments, or among the files of its text if Inline.
	N      int  `json:"n"`
	Inline bool `json:"inline,omitempty"`
	// URL is its address without the signature.
	URL         string `json:"url"`
	Name        string `json:"name,omitempty"`
	ContentType string `json:"content_type,omitempty"`
	Size        int    `json:"size"`
	SHA256      string `json:"sha256"`
}

// Files walks all files: of visible messages that are not redacted, of texts, and of attributes of tickets.
func (l Ledger) Files() iter.Seq[LedgerFile] {
	return func(yield func(LedgerFile) bool) {
		if !l.w.opts.Files {
			return
		}
		for i := range l.w.count(Conversations) {
			if !l.w.alive(Conversations, i) {
				continue
			}
			c := l.w.conversation(i)
			out := fileWalk{w: l.w, kind: Conversations, object: c.id, yield: yield}
			if !out.message(c.sourceID, c.files, c.body) || !out.parts(c.parts) {
				return
			}
		}
		for i := range l.w.count(Tickets) {
			if !l.w.alive(Tickets, i) {
				continue
			}
			t := l.w.ticket(i)
			out := fileWalk{w: l.w, kind: Tickets, object: t.id, yield: yield}
			if !out.attributes(t.attributes) || !out.parts(t.parts) {
				return
			}
		}
	}
}

type fileWalk struct {
	w      *Workspace
	kind   Kind
	object string
	yield  func(LedgerFile) bool
}

func (f *fileWalk) file(s stored, out LedgerFile) bool {
	out.Kind, out.ObjectID, out.URL, out.Size, out.SHA256 = f.kind, f.object, f.w.opts.BaseURL+s.path, s.size, s.sum()
	return f.yield(out)
}

func (f *fileWalk) parts(parts []part) bool {
	parts = visible(parts)
	for i := range parts {
		if !f.message(decimal(parts[i].id), parts[i].files, parts[i].body) {
			return false
		}
	}
	return true
}

func (f *fileWalk) message(id string, files []file, body text) bool {
	for n, x := range files {
		if !f.file(f.w.stored(x), LedgerFile{MessageID: id, N: n, Name: x.name, ContentType: x.contentType}) {
			return false
		}
	}
	if body.null {
		return true
	}
	for n, address := range addresses(body.html) {
		if !f.file(f.w.inline(address, 0), LedgerFile{MessageID: id, N: n, Inline: true}) {
			return false
		}
	}
	return true
}

func (f *fileWalk) attributes(list []attribute) bool {
	for _, a := range list {
		var files []struct {
			Name        string `json:"name"`
			URL         string `json:"url"`
			ContentType string `json:"content_type"`
		}
		if !strings.Contains(a.value, exampleFiles) || json.Unmarshal([]byte(a.value), &files) != nil {
			continue
		}
		for n, x := range files {
			if !f.file(f.w.inline(x.URL, ticketFileSize), LedgerFile{Attribute: a.name, N: n, Name: x.Name, ContentType: x.ContentType}) {
				return false
			}
		}
	}
	return true
}

// addresses are those of files in a text, each once.
func addresses(html string) []string {
	var list []string
	seen := map[string]bool{}
	for {
		i := strings.Index(html, exampleFiles)
		if i < 0 {
			return list
		}
		n := strings.IndexByte(html[i:], '"')
		if n < 0 {
			return list
		}
		if address := html[i : i+n]; !seen[address] {
			seen[address] = true
			list = append(list, address)
		}
		html = html[i+n:]
	}
}
