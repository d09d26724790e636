package frame

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"strings"
	"sync"
)

// AssetsPath is where Assets are mounted, as a pattern of http.ServeMux.
const AssetsPath = "/assets/{file}"

// asset is a file under the name that holds its hash: another content is another address, so that it may be kept for good.
type asset struct {
	kind   string
	plain  []byte
	zipped []byte
}

var kinds = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

// assets are what is embedded: by the name that is served, and the served name by the plain one.
var assets = sync.OnceValues(func() (served map[string]asset, names map[string]string) {
	served, names = map[string]asset{}, map[string]string{}
	entries, err := files.ReadDir("assets")
	if err != nil {
		panic(err) // they are in the program
	}
	for _, e := range entries {
		data, err := files.ReadFile("assets/" + e.Name())
		if err != nil {
			panic(err)
		}
		var b bytes.Buffer
		z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
		_, _ = z.Write(data) // memory does not fail
		_ = z.Close()
		sum := sha256.Sum256(data)
		ext := path.Ext(e.Name())
		name := strings.TrimSuffix(e.Name(), ext) + "-" + hex.EncodeToString(sum[:6]) + ext
		served[name], names[e.Name()] = asset{kinds[ext], data, b.Bytes()}, name
	}
	return served, names
})

// Asset is the address of an asset: style.css, live.js or icon.svg.
func Asset(name string) (string, error) {
	_, names := assets()
	if served, ok := names[name]; ok {
		return "/assets/" + served, nil
	}
	return "", fmt.Errorf("there is no asset %q", name)
}

// Assets serves the style, the script and the icon under the addresses that Asset gives.
func Assets() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served, _ := assets()
		a, ok := served[r.PathValue("file")]
		if !ok {
			w.Header().Set("Cache-Control", "no-store")
			http.NotFound(w, r)
			return
		}
		h := w.Header()
		h.Set("Content-Type", a.kind)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		h.Set("Vary", "Accept-Encoding")
		body := a.plain
		if takesGzip(r.Header.Get("Accept-Encoding")) {
			h.Set("Content-Encoding", "gzip")
			body = a.zipped
		}
		h.Set("Content-Length", fmt.Sprint(len(body)))
		if r.Method != http.MethodHead {
			_, _ = w.Write(body)
		}
	})
}

// takesGzip reports whether an Accept-Encoding names gzip without refusing it.
func takesGzip(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		name, q, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			q = strings.ReplaceAll(q, " ", "")
			return q != "q=0" && !strings.HasPrefix(q, "q=0.0") || strings.Trim(q, "q=0.") != ""
		}
	}
	return false
}
