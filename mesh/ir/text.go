package ir

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// What texts may look like that end up in requests and responses. All are valid UTF-8, since they travel
// as JSON and protocol buffers.
var (
	dnsName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$`)
	printed = regexp.MustCompile(`^[ -~]{0,512}$`)
)

// maxText bounds values, paths and patterns, in bytes.
const maxText = 8 << 10

// fixedHeaders are the proxy's own business: they say how a message is framed and where it goes.
var fixedHeaders = []string{
	"connection", "content-length", "host", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
}

// ours begins the names of headers that proxies tell each other things with.
const ours = "sluice-"

// isToken is RFC 9110's token, 5.6.2.
func isToken(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return text != "" && len(text) <= maxText
}

// badHeaderName says what is wrong with a header's name; "" if nothing is.
func badHeaderName(name string) string {
	switch {
	case !isToken(name):
		return "is not a header's name"
	case name != strings.ToLower(name):
		return "is not in lower case"
	default:
		return ""
	}
}

// badChange says why a header may not be changed; "" if it may.
func badChange(name string) string {
	switch {
	case badHeaderName(name) != "":
		return badHeaderName(name)
	case slices.Contains(fixedHeaders, name):
		return "says how messages are framed or where they go and cannot be changed; a rewrite changes the host"
	case strings.HasPrefix(name, ours):
		return "is one of the mesh's own"
	default:
		return ""
	}
}

// badText says what is wrong with a value; "" if nothing is. Tabs are allowed in header values only.
func badText(text string, tabs bool) string {
	switch {
	case len(text) > maxText:
		return "is too long"
	case !utf8.ValidString(text):
		return "is not UTF-8"
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && (r != '\t' || !tabs) || r == 0x7f }):
		return "has control characters"
	default:
		return ""
	}
}

// badPath says what is wrong with a path; "" if nothing is.
func badPath(path string) string {
	switch {
	case !strings.HasPrefix(path, "/"):
		return `does not begin with "/"`
	case strings.ContainsAny(path, "?#"):
		return "has a query or a fragment"
	case strings.ContainsRune(path, ' '):
		return "has a space"
	default:
		return badText(path, false)
	}
}

// badPattern says what is wrong with a regular expression; "" if nothing is.
func badPattern(pattern string) string {
	if problem := badText(pattern, true); problem != "" {
		return problem
	}
	if _, err := regexp.Compile(pattern); err != nil {
		return "does not compile: " + err.Error()
	}
	return ""
}

// isHost accepts names in lower case, and "*." before one where wildcards are allowed.
func isHost(host string, wildcard bool) bool {
	if wildcard {
		host = strings.TrimPrefix(host, "*.")
	}
	return len(host) <= 253 && dnsName.MatchString(host)
}

// isKey accepts "<namespace>/<name>".
func isKey(key string) bool {
	namespace, name, found := strings.Cut(key, "/")
	return found && dnsLabel.MatchString(namespace) && dnsLabel.MatchString(name)
}
