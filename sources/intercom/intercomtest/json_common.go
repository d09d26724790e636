package intercomtest

import (
	"fmt"
	"strconv"
)

// view is what the encoding of an object depends on beside the object.
type view struct {
	w            *Workspace
	version      version
	plain        bool // display_as=plaintext
	mergeHistory bool
	now          int64
	tickets      bool // the token may read tickets
}

func teamID(i int) string { return strconv.Itoa(5017690 + i*13) }
func tagID(i int) string  { return strconv.Itoa(9700100 + i) }

func (w *Workspace) segmentID(i int) string {
	return w.ids().hexID(idSegment, i, w.opts.Start.Unix())
}

func (e *encoder) tagBasic(w *Workspace, i int) {
	e.open()
	e.raw("type", `"tag"`)
	e.str("id", tagID(i))
	e.str("name", w.base().voc.tags[i])
	e.close()
}

// refs writes one of a contact's inline lists, which hold at most 10 items.
func (e *encoder) refs(key, typ, contactID, path string, ids []string) {
	e.object(key)
	e.raw("type", `"list"`)
	e.list("data")
	for i, id := range ids {
		if i == 10 {
			break
		}
		e.open()
		e.str("id", id)
		e.str("type", typ)
		e.str("url", "/"+path+"/"+id)
		e.close()
	}
	e.closeList()
	e.str("url", "/contacts/"+contactID+"/"+path)
	e.num("total_count", int64(len(ids)))
	e.bool("has_more", len(ids) > 10)
	e.close()
}

func (e *encoder) attributes(key string, list []attribute) {
	e.object(key)
	for _, a := range list {
		e.key(escapeKey(a.name))
		e.b = append(e.b, a.value...)
	}
	e.close()
}

// escapeKey quotes what a custom attribute's name may hold; key adds the quotes.
func escapeKey(name string) string {
	q := quoteJSON(name)
	return q[1 : len(q)-1]
}

func (e *encoder) reference(key string, r reference) {
	if r.typ == "" {
		e.null(key)
		return
	}
	e.object(key)
	e.str("type", r.typ)
	e.strOrNull("id", r.id)
	e.close()
}

// person writes an author; parts of conversations tell of the AI agent as well.
func (e *encoder) person(key string, p person, withAI bool) {
	e.object(key)
	e.str("type", p.typ)
	if p.noID {
		e.null("id")
	} else {
		e.str("id", p.id)
	}
	if p.noName {
		e.null("name")
	} else {
		e.str("name", p.name)
	}
	if p.noEmail {
		e.null("email")
	} else {
		e.str("email", p.email)
	}
	if withAI && p.typ != "user" && p.typ != "lead" {
		e.bool("from_ai_agent", p.fromAI)
		e.bool("is_ai_answer", p.aiAnswer)
	}
	e.close()
}

// files writes attachments. Their URLs are signed and run out, so that they
// differ from one read to the next.
func (e *encoder) files(key string, list []file, v *view, null bool) {
	if null {
		e.null(key)
		return
	}
	e.list(key)
	for _, f := range list {
		e.open()
		e.raw("type", `"upload"`)
		e.str("name", f.name)
		size := f.size
		expires := v.now/60*60 + 1800
		if v.w.opts.Files {
			s := v.w.stored(f)
			size = s.size
			e.str("url", v.w.address(s, v.now))
		} else {
			e.str("url", fmt.Sprintf(exampleFiles+"/i/o/%d/%s?expires=%d&signature=%016x", f.key%1e9, urlName(f.name), expires, mix64(f.key^uint64(expires))))
		}
		e.str("content_type", f.contentType)
		e.num("filesize", int64(size))
		if f.width > 0 {
			e.num("width", int64(f.width))
			e.num("height", int64(f.height))
		}
		e.close()
	}
	e.closeList()
}

func urlName(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c == ' ' {
			b[i] = '+'
		}
	}
	return string(b)
}

func (e *encoder) contactRefs(list []contactRef) {
	e.object("contacts")
	e.raw("type", `"contact.list"`)
	e.list("contacts")
	for _, c := range list {
		e.open()
		e.raw("type", `"contact"`)
		e.str("id", c.id)
		e.strOrNull("external_id", c.externalID)
		e.close()
	}
	e.closeList()
	e.close()
}

func (e *encoder) links(list []link) {
	e.object("linked_objects")
	e.raw("type", `"list"`)
	e.list("data")
	for _, l := range list {
		e.open()
		e.str("type", l.typ)
		e.str("id", l.id)
		e.strOrNull("category", l.category)
		e.close()
	}
	e.closeList()
	e.num("total_count", int64(len(list)))
	e.raw("has_more", "false")
	e.close()
}

func (e *encoder) emailMetadata(h *emailHeaders, source bool) {
	if h == nil {
		e.null("email_message_metadata")
		return
	}
	e.object("email_message_metadata")
	e.str("subject", h.subject)
	e.list("email_address_headers")
	for i, a := range [][2]string{h.from, h.to} {
		e.open()
		e.str("type", [...]string{"from", "to"}[i])
		e.str("email_address", a[0])
		e.strOrNull("name", a[1])
		e.close()
	}
	e.closeList()
	e.str("message_id", h.messageID)
	if source {
		e.str("history", h.history)
	}
	e.close()
}

// assignee writes an assignee's number; 0 and null both mean nobody.
func (e *encoder) assignee(key, id string, nobody string, quoted bool) {
	switch {
	case id == "":
		e.raw(key, nobody)
	case quoted:
		e.str(key, id)
	default:
		e.raw(key, id)
	}
}
