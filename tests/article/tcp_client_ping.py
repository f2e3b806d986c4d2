import socket
import sys  # Departure: for the port.

client_socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client_socket.connect(('localhost', int(sys.argv[1])))  # Departure: the node's port, not 12345.
client_socket.send(b'PING\r\n')  # Departure: a command, ended by \r\n, instead of a greeting.
print(client_socket.recv(1024))
client_socket.close()
