package table

import (
	"strconv"
	"strings"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// RewritePath returns the path for the backend; the same when nothing is rewritten.
func (p *Plan) RewritePath(path string) string {
	if p.Rule.Rewrite == nil {
		return path
	}
	return rewrite(p.Rule.Rewrite.Path, path, p.matched)
}

// rewrite makes a path. Where a prefix is to be replaced, the one that matched goes with whole elements:
// "/a/b" of prefix "/a" becomes "/x/b" with "/x", and "/b" with "" (in normal form a replacement has no slash
// at its end). A path that matched by something else than a prefix stays as it is.
func rewrite(change ir.Path, path string, matched *candidate) string {
	switch {
	case change.Full != "":
		return change.Full
	case !change.ReplacePrefix || !strings.HasPrefix(path, "/"):
		return path
	}
	prefix := ""
	if matched != nil && matched.path == ir.Prefix {
		prefix = matched.value
	} else if matched != nil && matched.path != "" {
		return path
	}
	rest, found := strings.CutPrefix(path, prefix)
	if !found {
		return path // no request that matched
	}
	if rest == "" {
		if change.Prefix == "" {
			return "/"
		}
		return change.Prefix
	}
	return change.Prefix + rest
}

// location makes a redirect's Location. What the redirect does not name stays as in the request; a port that
// is the scheme's own is left out. The request's scheme is http: what a mesh's proxy can read was sent so.
func location(to *ir.Redirect, r Request, matched *candidate) string {
	scheme := to.Scheme
	host, port := splitAuthority(r.Authority())
	if scheme == "" {
		scheme = "http"
	} else {
		port = "" // that of the scheme
	}
	if to.Host != "" {
		host = to.Host
	}
	if to.Port != 0 {
		port = strconv.Itoa(int(to.Port))
	}
	if scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		port = ""
	}
	if port != "" {
		port = ":" + port
	}
	path := rewrite(to.Path, r.Path(), matched)
	if query := r.Query(); query != "" {
		path += "?" + query
	}
	return scheme + "://" + host + port + path
}
