package render

import "bytes"

// pointers are how the files begin that Git LFS commits in place of the content.
var pointers = [][]byte{
	[]byte("version https://git-lfs.github.com/spec/"),
	[]byte("version https://hawser.github.com/spec/"),
}

// maxPointer is the size in bytes below which Git LFS takes a file for a pointer.
const maxPointer = 1024

// refusePointer refuses a pointer of Git LFS. Its content is not in the repository, and the pointer
// itself would be rendered as the content: into a ConfigMap, say.
func refusePointer(data []byte) *Error {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if len(data) >= maxPointer {
		return nil
	}
	for _, start := range pointers {
		if bytes.HasPrefix(data, start) && bytes.Contains(data, []byte("\noid ")) {
			return errorf(LFSPointer, "is a pointer of Git LFS, whose content is not in the repository: commit the file itself (git lfs untrack)")
		}
	}
	return nil
}
