"""The search engine in a browser and over HTTP: a page, its uploads, its bounds.

site        what is served: the engines of some indexes, one search at a time
app         the routes; guard, who may ask; measurements, what /metrics tells
uploads     what is sent, bounded while it comes in; decoding, in a process of its own
previews    the key frame and the waveform of a hit
prediction  TensorFlow Serving's REST API of the exports
page/       the page: no font, script or picture from elsewhere
"""
