package intercomtest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// exampleFiles is where the addresses of files lead that nobody serves.
const exampleFiles = "https://downloads.intercomcdn.example"

// filePrefix begins the paths of files on the simulator's own host.
const filePrefix = "/i/o/"

// stored is a file as the simulated store holds it. Its content follows from its key.
type stored struct {
	path string // /i/o/APP/SIZE/KEY/NAME, escaped
	size int
	key  uint64
}

// stored is the file behind an attachment.
func (w *Workspace) stored(f file) stored {
	return w.storedAs(w.fileSize(f.size), f.key, f.name)
}

func (w *Workspace) storedAs(size int, key uint64, name string) stored {
	return stored{fmt.Sprintf("%s%s/%d/%016x/%s", filePrefix, w.opts.AppID, size, key, urlName(name)), size, key}
}

// inline is the file behind an address that a text or an attribute holds, which begins with exampleFiles.
func (w *Workspace) inline(address string, size int) stored {
	key := faultHash(address)
	if size == 0 {
		size = 5_000 + int(key%60_000)
	}
	return w.storedAs(w.fileSize(size), key, address[strings.LastIndexByte(address, '/')+1:])
}

// ticketFileSize is what ticket attributes state of their files.
const ticketFileSize = 20480

func (w *Workspace) fileSize(n int) int {
	if w.opts.FileSize > 0 {
		return w.opts.FileSize
	}
	return n
}

// address is the signed address of a file, for as long as Options.FileLife.
func (w *Workspace) address(s stored, now int64) string {
	expires := now + int64(w.opts.FileLife/time.Second)
	return fmt.Sprintf("%s%s?expires=%d&signature=%s&req=%s", w.opts.BaseURL, s.path, expires, w.signature(s.path, expires), "cSQlE8h9mYRd%2F")
}

func (w *Workspace) signature(path string, expires int64) string {
	return fmt.Sprintf("%016x%016x", faultHash(path, strconv.FormatInt(expires, 10), w.opts.AppID), mix64(w.opts.Seed^uint64(expires)))
}

// signFiles puts signed addresses in the place of those that nobody serves. amp divides their parameters.
func (w *Workspace) signFiles(s string, now int64, size int, amp string) string {
	if !w.opts.Files {
		return s
	}
	var out strings.Builder
	for {
		i := strings.Index(s, exampleFiles)
		if i < 0 {
			return out.String() + s
		}
		n := strings.IndexByte(s[i:], '"')
		if n < 0 {
			return out.String() + s
		}
		out.WriteString(s[:i])
		out.WriteString(strings.ReplaceAll(w.address(w.inline(s[i:i+n], size), now), "&", amp))
		s = s[i+n:]
	}
}

// fileIn finds the file that a request asks for.
func (w *Workspace) fileIn(path string) (stored, bool) {
	part := strings.Split(strings.TrimPrefix(path, filePrefix), "/")
	if len(part) != 4 || part[0] != w.opts.AppID {
		return stored{}, false
	}
	size, err1 := strconv.Atoi(part[1])
	key, err2 := strconv.ParseUint(part[2], 16, 64)
	return stored{path, size, key}, err1 == nil && err2 == nil && size >= 0
}

// fileEndpoint is how Stats counts requests for files.
const fileEndpoint = "GET " + filePrefix + "{file}"

// serveFile answers as the store behind the addresses does: whoever has a signed address that has not expired gets
// the file. It knows no token and no budget; a token that is sent here all the same is a violation.
func (w *Workspace) serveFile(rw http.ResponseWriter, r *http.Request) {
	c := &call{w: w, r: r, path: r.URL.EscapedPath(), status: http.StatusOK, endpoint: fileEndpoint}
	n := w.stats.count(c.endpoint)
	if r.Method != http.MethodGet || r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" || r.Header.Get("Referer") != "" {
		w.stats.violation(r.Method + " " + c.path + " with the token, a cookie or where it came from, or no GET")
	}
	c.hits = w.faults.pick(c, n)
	if c.breakBefore(rw) {
		w.stats.finish(c.endpoint, 0, 0)
		return
	}
	s, ok := w.fileIn(c.path)
	expires, err := strconv.ParseInt(r.URL.Query().Get("expires"), 10, 64)
	header := rw.Header()
	switch {
	case c.hit(FaultRedirect) != nil:
		header.Set("Location", c.fault(FaultRedirect).Location)
		c.status = orInt(c.fault(FaultRedirect).Status, http.StatusFound)
	case c.status != http.StatusOK:
	case c.hit(Fault429) != nil:
		c.status = http.StatusTooManyRequests
		if c.fault(Fault429).Headers == HeadersRetryAfter {
			header.Set("Retry-After", "1")
		}
	case !ok:
		c.status = http.StatusNotFound
	case err != nil || r.URL.Query().Get("signature") != w.signature(s.path, expires), expires <= w.now(), c.hit(FaultExpired) != nil:
		c.status = http.StatusForbidden
	}
	c.delay()
	if c.status != http.StatusOK {
		body := fmt.Sprintf("<Error><Code>%d</Code><Message>%s</Message></Error>", c.status, http.StatusText(c.status))
		header.Set("Content-Type", "application/xml")
		header.Set("Content-Length", strconv.Itoa(len(body)))
		rw.WriteHeader(c.status)
		sent, _ := io.WriteString(rw, body)
		w.stats.finish(c.endpoint, c.status, sent)
		return
	}
	header.Set("Content-Type", "application/octet-stream")
	w.stats.finish(c.endpoint, c.status, c.sendFile(rw, s))
}

// fault is a fault that befalls this request and was counted already.
func (c *call) fault(k FaultKind) *Fault {
	for _, f := range c.hits {
		if f.Kind == k {
			return f
		}
	}
	return nil
}

// sendFile sends the content, or what a fault makes of it.
func (c *call) sendFile(rw http.ResponseWriter, s stored) int {
	claimed, size := s.size, s.size
	var slow, stall *Fault
	broken := false
	switch {
	case c.hit(FaultHuge) != nil:
		size = orInt(c.fault(FaultHuge).Bytes, 1<<30)
		if claimed = size; c.fault(FaultHuge).Headers == HeadersNone {
			claimed = -1 // it does not say how long it is
		}
	case c.hit(FaultEmptyBody) != nil:
		claimed, size = 0, 0
	case c.hit(FaultShortLength) != nil:
		claimed, size = s.size*2/3, s.size*2/3
	case c.hit(FaultTruncated) != nil:
		size, broken = s.size/2, true
	case c.hit(FaultBadGzip) != nil:
		rw.Header().Set("Content-Encoding", "gzip")
	default:
		slow, stall = c.hit(FaultSlowBody), c.hit(FaultStallLate)
	}
	if claimed >= 0 {
		rw.Header().Set("Content-Length", strconv.Itoa(claimed))
	}
	rw.WriteHeader(c.status)
	sent, buf := 0, make([]byte, 64<<10)
	if slow != nil {
		buf = buf[:max(1, orInt(slow.Bytes, 1000)/10)]
	}
	content := bytesOf{key: s.key}
	for sent < size {
		if stall != nil && sent >= size/2 {
			_ = http.NewResponseController(rw).Flush()
			c.wait(stall.For, time.Minute)
			panic(http.ErrAbortHandler)
		}
		n := min(len(buf), size-sent)
		if stall != nil {
			n = min(n, max(1, size/2-sent))
		}
		content.read(buf[:n])
		if _, err := rw.Write(buf[:n]); err != nil {
			return sent
		}
		sent += n
		if slow != nil {
			_ = http.NewResponseController(rw).Flush()
			if c.wait(100*time.Millisecond, 0); c.r.Context().Err() != nil {
				return sent
			}
		}
	}
	if broken {
		_ = http.NewResponseController(rw).Flush()
		c.w.stats.finish(c.endpoint, c.status, sent)
		panic(http.ErrAbortHandler) // the library's way to close without the rest
	}
	return sent
}

// bytesOf is the endless content that follows from a key, from the place at on.
type bytesOf struct{ key, at uint64 }

func (c *bytesOf) read(p []byte) {
	var word [8]byte
	for len(p) > 0 {
		binary.LittleEndian.PutUint64(word[:], mix64(c.key+c.at/8))
		n := copy(p, word[c.at%8:])
		c.at += uint64(n)
		p = p[n:]
	}
}

// sum is the SHA-256 of a file's content, hexadecimal.
func (s stored) sum() string {
	h, c := sha256.New(), bytesOf{key: s.key}
	buf := make([]byte, 64<<10)
	for left := s.size; left > 0; {
		n := min(left, len(buf))
		c.read(buf[:n])
		h.Write(buf[:n])
		left -= n
	}
	return hex.EncodeToString(h.Sum(nil))
}
